package peer

import (
	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/pipeline"
)

// header is a header of an output.
type header struct{ name, value string }

// envelope is what Waybill sends with the output of the order with this id
// beside the payload: an id that is the same whenever the order is handled, what
// the output came from, and which config made it. A bare client passes on the
// order's headers, so an output of its own has three less than Waybill's.
func envelope(in string) [4]header {
	return [4]header{
		{job.IDHeader, pipeline.OutputID(in, "prepare", 0)},
		{pipeline.MetaCausationID, in},
		{pipeline.MetaCorrelationID, in},
		{pipeline.MetaConfigVersion, "0123456789ab"},
	}
}
