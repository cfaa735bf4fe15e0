package stages

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/pipeline"
)

// FuzzHandle: whatever comes, twice, is done, told of, or refused for a reason,
// and never changed; what is kept can be read again.
func FuzzHandle(f *testing.F) {
	for _, payload := range []string{
		twoJobs, done("A1-1-1", "pick", 1), `{"job_id":"A1-2-1","stage":"coat","time":"x"}`, `{"orderId":"A1","order_lines":[]}`,
		`{"orderId":"\ud800","order_lines":[{"job_id":"\u0000","completion_stages":[{"name":"a","status":"done"}]}]}`,
		`{"order_id":"A1","job_id":1e9,"stage":"\u00e9"}`, `{"order_lines":[1`, "null",
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		b := newBench(t, "", "completed", "errors")
		b.take(t, twoJobs)
		in := string(payload)
		for range 2 {
			msg := handlertest.Message("")
			msg.Payload = payload
			outs, err := b.Handle(msg)
			require.Equal(t, in, string(payload), "the input was written to")
			if err != nil {
				require.True(t, pipeline.IsPermanent(err) || pipeline.ReasonOf(err) == pipeline.ReasonUnavailable, err)
			}
			for _, out := range outs {
				require.True(t, jsontext.Value(out.Payload).IsValid(), "%s", out.Payload)
			}
		}
		b.known(t, "A1")
	})
}
