package rabbitbroker

import (
	"testing"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

func TestConformance(t *testing.T) { brokertest.Exercise(t, shared(t).harness()) }
