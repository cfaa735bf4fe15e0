package rabbitbroker

import (
	"testing"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

//nolint:paralleltest // the suite decides what runs side by side
func TestConformance(t *testing.T) { brokertest.Exercise(t, shared(t).harness()) }

// TestConformance_Partitioned is the same with topics of several partitions
// where the suite wants some. It kills no broker: a restart may move keys from
// one partition to another, see the package comment.
//
//nolint:paralleltest // the same
func TestConformance_Partitioned(t *testing.T) {
	h := shared(t).harness()
	h.Features.Server, h.Node = false, nil
	h.Features.Partitions = 3
	brokertest.Exercise(t, h)
}
