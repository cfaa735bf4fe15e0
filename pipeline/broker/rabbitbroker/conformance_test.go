package rabbitbroker

import (
	"testing"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

//nolint:paralleltest // the suite decides what runs side by side
func TestConformance(t *testing.T) { brokertest.Exercise(t, shared(t).harness()) }
