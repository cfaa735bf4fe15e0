package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestNoteMoves: nothing is said to be left on an old broker only where that
// is sure, since people remove the broker then.
func TestNoteMoves(t *testing.T) {
	t.Parallel()
	p := pipeline.Pipeline{Topics: map[string]pipeline.Topic{"in": {Name: "in", Broker: "new", Draining: "old"}}}
	const nothing, something = "and nothing of in.work is left here", "what is left of in.work is read here"
	for name, test := range map[string]struct {
		status broker.Status
		want   string
	}{
		"counted: nothing":                        {broker.Status{}, nothing},
		"counted: nothing, though somebody reads": {broker.Status{Consumers: 1}, nothing},
		"nobody reads":                            {broker.Status{InFlight: -1}, nothing},
		"it waits":                                {broker.Status{Ready: 1}, something},
		"it is in hand":                           {broker.Status{InFlight: 1, Consumers: 1}, something},
		"it may be in hand":                       {broker.Status{InFlight: -1, Consumers: 1}, something},
		"nothing is known":                        {broker.Status{Ready: -1, InFlight: -1, Consumers: -1}, something},
		"who reads is not known":                  {broker.Status{InFlight: -1, Consumers: -1}, something},
	} {
		test.status.Name, test.status.Topic = "in.work", "in"
		status := []broker.Status{test.status}
		noteMoves(p, "old", status)
		require.Len(t, status[0].Notes, 1, name)
		require.Contains(t, status[0].Notes[0], test.want, name)
	}
}
