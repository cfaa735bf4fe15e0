package app

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

// tracking is a pipeline of one track_stages from in-~ to out-~ and err-~.
const tracking = `
brokers: {%s}
topics:
  in-~: {broker: main, key: [/orderId, /order_id]}
  out-~: {broker: main}
  err-~: {broker: main}
handlers:
  work: {kind: track_stages, from: in-~, to: {completed: out-~, errors: err-~}, %s}
`

// prepared is a prepared order of n jobs, each with the stages pick and pack.
func prepared(id string, n int) string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"job_id":"%s-%d-1","job_count":1,"completion_stages":["pick","pack"]}`, id, i+1)
	}
	return fmt.Sprintf(`{"orderId":%q,"order_lines":[%s]}`, id, strings.Join(lines, ","))
}

func stageDone(id string, job int, stage string) string {
	return fmt.Sprintf(`{"order_id":%q,"job_id":"%s-%d-1","stage":%q}`, id, id, job, stage)
}

// subject is the order that an event is about.
func subject(t *testing.T, m dashboard.Message) string {
	t.Helper()
	var e struct {
		Type    string `json:"type"`
		Subject string `json:"subject"`
	}
	require.NoError(t, json.Unmarshal(m.Bytes(), &e))
	return e.Type + " " + e.Subject
}

// TestRows_Stages are the rows of track_stages, on every broker and with the
// store of the default config.
func TestRows_Stages(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()

			t.Run("0-D24 stages are marked in their order, repeats do nothing, and what is unknown is an event", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(tracking, brokers, "ordering: key, retry: {immediate: 0}"))
				s := begin(t, config)
				in, _ := topics(config)
				wrong, dead := s.watch(strings.Replace(in, "in-", "err-", 1)), s.watch(in+".work.dlq")
				s.publish(in, prepared("A1", 1))
				early := s.publish(in, stageDone("A1", 1, "pack"))
				letter := dead(1)[0]
				require.Equal(t, early, letter.ID)
				require.Equal(t, "unavailable", letter.Metadata[pipeline.MetaDeadReason])
				require.Contains(t, letter.Metadata[pipeline.MetaDeadError], `"pick" is not done`)

				unknown := s.publish(in, stageDone("A1", 7, "pick"))
				m := wrong(1)[0]
				require.Equal(t, "order.stage_refused A1", subject(t, m))
				require.Equal(t, unknown, m.Metadata[pipeline.MetaCausationID])
				for range 3 {
					s.publish(in, stageDone("A1", 1, "pick"))
				}
				s.eventually(func() bool { return s.processed("ok") == "5" }, "the order, the refusal, and three times the same")
			})

			t.Run("0-D24 an event that comes before its order, and one before its turn, wait for it and hold up nobody", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(tracking, brokers, "ordering: key, overtake: true, retry: {immediate: 0, delayed: {initial: 200ms, max: 1s, attempts: 100}}"))
				s := begin(t, config)
				in, out := topics(config)
				announced := s.watch(out)
				s.publish(in, stageDone("A1", 1, "pack"))
				s.publish(in, stageDone("A1", 1, "pick"))
				s.eventually(func() bool { n := s.processed("delayed"); return n != "" && n != "1" }, "they wait")
				s.publish(in, prepared("A1", 1))
				require.Equal(t, "order.completed A1", subject(t, announced(1)[0]))
			})

			t.Run("0-D25 the last stage of the last job announces the order once, also when a stop comes between and all is sent again", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(tracking, brokers, "ordering: key"))
				s := begin(t, config)
				in, out := topics(config)
				send := func(order string) (last string) {
					s.publish(in, prepared(order, 2))
					for _, stage := range []string{"pick", "pack"} {
						for job := range 2 {
							s.publish(in, stageDone(order, job+1, stage))
							last = s.publish(in, stageDone(order, job+1, stage))
						}
					}
					return last
				}
				announced := s.watch(out)
				send("A1")
				first := announced(1)[0]
				require.Equal(t, "order.completed A1", subject(t, first))
				require.Equal(t, pipeline.OutputID(first.Metadata[pipeline.MetaCausationID], "work", 0), first.ID)
				require.NoError(t, s.stop())
				s.open()
				announced = s.watch(out)
				send("A1")
				send("A2")
				require.Equal(t, "order.completed A2", subject(t, announced(1)[0]), "A1 was announced again")
			})

			t.Run("0-D25 events that come before their order and all at once announce it once", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(tracking, brokers, "ordering: none, concurrency: 32, retry: {immediate: 50, initial: 20ms}"))
				s := begin(t, config)
				in, out := topics(config)
				announced := s.watch(out)
				const jobs = 8
				for job := range jobs {
					s.publish(in, stageDone("A1", job+1, "pack"))
					s.publish(in, stageDone("A1", job+1, "pick"))
				}
				s.publish(in, prepared("A1", jobs))
				require.Equal(t, "order.completed A1", subject(t, announced(1)[0]))
				s.eventually(func() bool { return s.processed("ok") == fmt.Sprint(2*jobs+1) }, "none of them is dead")
				s.publish(in, strings.ReplaceAll(prepared("A2", 1), `"pick","pack"`, `{"name":"pick","status":"done"}`))
				require.Equal(t, "order.completed A2", subject(t, announced(1)[0]), "A1 was announced again")
			})
		})
	}
}
