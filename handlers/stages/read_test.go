package stages

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/pipeline"
)

func TestRead(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		payload string
		want    input
	}{
		"a stage event":             {`{"order_id":"A1","job_id":"j","stage":"pick","time":"2026-03-01T13:00:00+01:00"}`, input{order: "A1", event: event{"j", "pick", noon}}},
		"ids that are numbers":      {`{"orderId":7,"jobId":8,"stage":"pick"}`, input{order: "7", event: event{job: "8", stage: "pick"}}},
		"the order's id in the job": {`{"job_id":"A-1-2-3","stage":"pick","id":"the event's own"}`, input{order: "A-1", event: event{job: "A-1-2-3", stage: "pick"}}},
		"a time that is none":       {`{"job_id":"A-1-1","stage":"pick","time":1700000000,"timestamp":"2026-03-01T12:00:00Z"}`, input{order: "A", event: event{"A-1-1", "pick", noon}}},
		"an order": {
			" {\"id\":\"caf\\u00e9\",\"note\":\"\\ud800\",\"order_lines\":[{\"job_id\":\"x\",\"completion_stages\":[\"a\",{\"name\":\"b\"},{\"name\":\"c\",\"status\":\"done\"}]}]}\n",
			input{order: "café", jobs: []job{{ID: "x", Stages: []string{"a", "b", "c"}, done: []string{"c"}}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := NewConfig().read([]byte(test.payload))
			require.NoError(t, err)
			require.Equal(t, &test.want, got)
		})
	}
}

func TestRead_Refuses(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		"":                                        "not a JSON object",
		"[]":                                      "not a JSON object",
		"{} {}":                                   "not a JSON object",
		"{\"a\":\"\xff\"}":                        "not a JSON object",
		`{"stage":"a","stage":"b"}`:               "not a JSON object",
		`{}`:                                      "see without_lines",
		`{"orderId":"1","order_lines":null}`:      "see without_lines",
		`{"orderId":"1","order_lines":[]}`:        `order "1" has no lines; see without_lines`,
		`{"orderId":"1","order_lines":{}}`:        "order_lines is no array",
		`{"order_lines":[{}]}`:                    "name its path under order_id",
		`{"job_id":"A-1-1"}`:                      "name its path under event.stage",
		`{"stage":"pick"}`:                        "name its path under event.job_id",
		`{"job_id":"A-1-1","stage":" "}`:          "names no stage",
		`{"job_id":true,"stage":"pick"}`:          "names no job",
		`{"job_id":"mine","stage":"pick"}`:        "name its path under event.order_id",
		`{"job_id":"\ud800","stage":"pick"}`:      "names no job",
		`{"id":1,"order_lines":[{"sku":"F"}]}`:    `order "1", line 1: it is no job`,
		`{"id":1,"order_lines":[1]}`:              "line 1: it is no job",
		`{"id":1,"order_lines":[{"job_id":"a"}]}`: `job "a" has no list completion_stages`,
		`{"id":1,"order_lines":[{"job_id":"a","completion_stages":"x"}]}`:                                            `job "a" has no list completion_stages`,
		`{"id":1,"order_lines":[{"job_id":"a","completion_stages":[]}]}`:                                             `job "a" has no stages`,
		`{"id":1,"order_lines":[{"job_id":"a","completion_stages":[""]}]}`:                                           `job "a": a stage has no name`,
		`{"id":1,"order_lines":[{"job_id":"a","completion_stages":[{}]}]}`:                                           `job "a": a stage has no name`,
		`{"id":1,"order_lines":[{"job_id":"a","completion_stages":["x","x"]}]}`:                                      `the stage "x" is there twice`,
		`{"id":1,"order_lines":[{"job_id":"a","completion_stages":[{"name":"x","status":"half"}]}]}`:                 `the status "half", which is not one of: pending, done`,
		`{"id":1,"order_lines":[{"job_id":"a","completion_stages":["x"]},{"job_id":"a","completion_stages":["x"]}]}`: `job "a" is there twice`,
	} {
		_, err := NewConfig().read([]byte(payload))
		require.ErrorContains(t, err, want, "%s", payload)
		require.True(t, pipeline.IsPermanent(err), payload)
		require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err), payload)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()

	t.Run("without_lines: pass lets orders by that have nothing to track", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "without_lines: pass", "completed")
		require.Empty(t, b.take(t, `{"orderId":"1","items":[]}`, `{"orderId":"1","order_lines":[]}`, `{"orderId":"1","order_lines":null}`))
		require.False(t, b.known(t, "1").known())
	})

	t.Run("paths are the shop's own", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "order_id: [/order/no]\nevent: {job_id: [/data/job], stage: [/data/done], order_id: [/subject], time: []}", "completed")
		outs := b.take(t, `{"order":{"no":"A1"},"order_lines":[{"job_id":"j","completion_stages":["pick"]}]}`,
			`{"subject":"A1","data":{"job":"j","done":"pick"}}`)
		require.Len(t, outs, 1)
		require.NotContains(t, string(outs[0].Payload), `"time":"0001`)
	})

	t.Run("every fault has its key", func(t *testing.T) {
		t.Parallel()
		c := &Config{Changed: "x", WithoutLines: "y", Keep: -1, OrderID: []string{"", "id"}, Event: EventPointers{JobID: []string{"/a~"}, Time: []string{"t"}}}
		var at []string
		for _, err := range c.Validate() {
			var field *pipeline.FieldError
			require.ErrorAs(t, err, &field)
			at = append(at, field.Pointer)
		}
		require.Equal(t, []string{
			"/changed", "/without_lines", "/keep", "/order_id/0", "/order_id/1", "/event/job_id/0", "/event/stage", "/event/time/0",
		}, at)
		require.Empty(t, NewConfig().Validate())
		_, err := handlertest.New(t, Kind(), handlertest.Params{With: "changed: maybe"})
		require.ErrorContains(t, err, `"maybe" is not one of: refuse, update`)
	})
}
