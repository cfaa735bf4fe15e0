package kafkabroker

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, append(brokertest.Leaks(),
		// sarama's breaker sleeps for ten seconds before it ends.
		goleak.IgnoreAnyFunction("github.com/eapache/go-resiliency/breaker.(*Breaker).timer"))...)
}
