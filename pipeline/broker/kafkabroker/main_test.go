package kafkabroker

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, brokertest.Leaks()...)
}
