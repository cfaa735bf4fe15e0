package stages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/pipeline"
)

// twoJobs is an order as prepare_order prepares it.
const twoJobs = `{"orderId":"A1","order_lines":[
  {"sku":"F","quantity":1,"job_id":"A1-1-1","job_count":1,"completion_stages":["pick","pack"]},
  {"sku":"L","quantity":1,"job_id":"A1-2-1","job_count":1,"completion_stages":[{"name":"coat","status":"pending"}]}],"total":1.50}`

// at is the time of the n-th event.
func at(n int) string { return time.Date(2026, 3, 1, 12, n, 0, 0, time.UTC).Format(time.RFC3339) }

// done is a stage event.
func done(job, stage string, n int) string {
	return fmt.Sprintf(`{"order_id":"A1","job_id":%q,"stage":%q,"time":%q}`, job, stage, at(n))
}

// bench is a handler under test; each message has an id of its own.
type bench struct {
	*handlertest.Handler
	state *handlertest.State
	sent  int
}

func newBench(t testing.TB, with string, outputs ...string) *bench {
	b := &bench{state: &handlertest.State{}}
	b.Handler = handlertest.Start(t, Kind(), handlertest.Params{With: with, Name: "track", Outputs: outputs, State: b.state})
	return b
}

func (b *bench) send(payload string) ([]*message.Message, error) {
	b.sent++
	return b.sendAs(fmt.Sprintf("m-%d", b.sent), payload)
}

func (b *bench) sendAs(id, payload string) ([]*message.Message, error) {
	msg := handlertest.Message(payload)
	msg.UUID = id
	return b.Handle(msg)
}

// take sends messages that must pass, and returns what came of the last.
func (b *bench) take(t testing.TB, payloads ...string) (outs []*message.Message) {
	t.Helper()
	for _, payload := range payloads {
		var err error
		outs, err = b.send(payload)
		require.NoError(t, err, payload)
	}
	return outs
}

// known is the record of an order.
func (b *bench) known(t testing.TB, order string) *record {
	t.Helper()
	value, _, err := b.state.Load(t.Context(), order)
	require.NoError(t, err)
	r, err := decodeRecord(value)
	require.NoError(t, err)
	return r
}

// requireEarly holds an error to be one that is tried again.
func requireEarly(t testing.TB, err error, text string) {
	t.Helper()
	require.ErrorContains(t, err, text)
	require.False(t, pipeline.IsPermanent(err))
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
}

func TestStages(t *testing.T) {
	t.Parallel()

	t.Run("0-D24 a stage is marked done only when the stages before it are, and a repeat changes nothing", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed", "errors")
		require.Empty(t, b.take(t, twoJobs))
		_, err := b.send(done("A1-1-1", "pack", 1))
		requireEarly(t, err, `stage "pack" of job "A1-1-1" comes before its turn: "pick" is not done`)
		require.Empty(t, b.known(t, "A1").Done)

		require.Empty(t, b.take(t, done("A1-1-1", "pick", 2)))
		_, version, err := b.state.Load(t.Context(), "A1")
		require.NoError(t, err)
		require.Empty(t, b.take(t, done("A1-1-1", "pick", 3), twoJobs), "repeats")
		_, after, err := b.state.Load(t.Context(), "A1")
		require.NoError(t, err)
		require.Equal(t, version, after, "nothing was saved for them")
		require.Empty(t, b.take(t, done("A1-1-1", "pack", 4)))
		require.Equal(t, map[string][]string{"A1-1-1": {"pick", "pack"}}, b.known(t, "A1").Done)
	})

	t.Run("0-D24 an unknown job or stage is an event on the output errors", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed", "errors")
		b.take(t, twoJobs)
		for payload, problem := range map[string]string{
			done("A1-9-9", "pick", 1):            unknownJob,
			" " + done("A1-1-1", "polish", 1):    unknownStage,
			done("A1-2-1", "pick", 1) + "\n":     unknownStage,
			`{"job_id":"A1-1-1","stage":"coat"}`: unknownStage,
		} {
			outs := b.take(t, payload)
			require.Len(t, outs, 1, payload)
			require.Equal(t, "errors", pipeline.OutputOf(outs[0]))
			var e struct {
				Type    string      `json:"type"`
				Subject string      `json:"subject"`
				Data    refusedData `json:"data"`
			}
			require.NoError(t, json.Unmarshal(outs[0].Payload, &e), "%s", outs[0].Payload)
			require.Equal(t, "order.stage_refused", e.Type)
			require.Equal(t, "A1", e.Subject)
			require.Equal(t, problem, e.Data.Problem)
			require.Equal(t, payload, e.Data.Event, "byte for byte")
		}
		require.Empty(t, b.known(t, "A1").Done, "nothing was marked")
		require.Contains(t, b.LogText(), `job \"A1-1-1\" has no stage \"polish\"`)
	})

	t.Run("0-D24 without that output an unknown job or stage is a permanent failure", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed")
		b.take(t, twoJobs)
		_, err := b.send(done("A1-1-1", "polish", 1))
		require.ErrorContains(t, err, `order "A1": job "A1-1-1" has no stage "polish"; it has ["pick" "pack"]`)
		require.True(t, pipeline.IsPermanent(err))
		require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
	})

	t.Run("0-D24 an event that comes before its order is tried again", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed")
		_, err := b.send(done("A1-2-1", "coat", 1))
		requireEarly(t, err, `order "A1": the order is not known yet`)
		b.take(t, twoJobs, done("A1-2-1", "coat", 1))
	})

	t.Run("0-D24 lenient marks stages in any order", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "lenient: true", "completed")
		b.take(t, twoJobs, done("A1-1-1", "pack", 1), done("A1-2-1", "coat", 2))
		require.Len(t, b.take(t, done("A1-1-1", "pick", 3)), 1)
	})

	t.Run("0-D25 the last stage of the last job gives one event, whatever is repeated", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed", "errors")
		require.Empty(t, b.take(t, twoJobs, done("A1-2-1", "coat", 7), done("A1-1-1", "pick", 2)))
		outs := b.take(t, done("A1-1-1", "pack", 5))
		require.Len(t, outs, 1)
		require.Equal(t, "completed", pipeline.OutputOf(outs[0]))
		require.Equal(t, "A1", outs[0].Metadata.Get(pipeline.MetaPartitionKey))
		require.Equal(t, `{"specversion":"1.0","id":"`+pipeline.OutputID("A1", "track", 0)+`","source":"waybill/track","type":"order.completed",`+
			`"subject":"A1","time":"2026-03-01T12:07:00Z","datacontenttype":"application/json","data":{"order_id":"A1","jobs":[`+
			`{"job_id":"A1-1-1","stages":["pick","pack"]},{"job_id":"A1-2-1","stages":["coat"]}]}}`, string(outs[0].Payload))
		require.Contains(t, b.LogText(), "order is complete")

		require.Empty(t, b.take(t, done("A1-1-1", "pack", 8), twoJobs, done("A1-2-1", "coat", 9), done("A1-1-1", "pick", 9)))
	})

	t.Run("0-D25 of two that complete an order side by side one saves", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed")
		b.take(t, twoJobs, done("A1-2-1", "coat", 1), done("A1-1-1", "pick", 2))
		// The second sees what the first saw, and comes too late.
		var outcomes [2]pipeline.Outcome
		var outs [2][]*message.Message
		for i := range outcomes {
			msg := handlertest.Message(done("A1-1-1", "pack", 3))
			env := pipeline.Env{Handler: "track", Log: quiet, State: b.state, Outputs: []string{"completed"}}
			handle, err := newTracker(env, NewConfig())
			require.NoError(t, err)
			msg.SetContext(pipeline.WithOutcome(t.Context(), &outcomes[i]))
			outs[i], err = handle(msg)
			require.NoError(t, err)
			require.Len(t, outs[i], 1)
		}
		require.Equal(t, string(outs[0][0].Payload), string(outs[1][0].Payload), "who sees both sees that they are one")
		require.NoError(t, outcomes[0].Writes(pipeline.ResultOK)[0](nil))
		require.ErrorIs(t, outcomes[1].Writes(pipeline.ResultOK)[0](nil), pipeline.ErrOutdated)
		require.Empty(t, outcomes[1].Writes(pipeline.ResultDead))
		require.Empty(t, b.take(t, done("A1-1-1", "pack", 3)), "and run again it finds the order announced")
	})

	t.Run("0-D25 a run whose outcome is lost leaves nothing behind, and its repeat announces", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed")
		b.take(t, twoJobs, done("A1-2-1", "coat", 1), done("A1-1-1", "pick", 2))
		handle, err := newTracker(pipeline.Env{Handler: "track", Log: quiet, State: b.state}, NewConfig())
		require.NoError(t, err)
		outs, err := handle(handlertest.Message(done("A1-1-1", "pack", 3))) // its outcome is nobody's
		require.NoError(t, err)
		require.Len(t, outs, 1)
		require.Len(t, b.take(t, done("A1-1-1", "pack", 3)), 1)
	})

	t.Run("0-D25 an order that comes with all its stages done is announced at once", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed")
		const order = `{"id":7,"order_lines":[{"job_id":"7-1-1","completion_stages":[{"name":"pick","status":"done"}]}]}`
		require.Len(t, b.take(t, order), 1)
		require.Empty(t, b.take(t, order))
	})
}

// TestChangedOrder: what becomes of an order that comes again with other jobs.
func TestChangedOrder(t *testing.T) {
	t.Parallel()
	const (
		oneJob   = `{"orderId":"A1","order_lines":[{"job_id":"A1-1-1","completion_stages":["pick","pack"]}]}`
		restaged = `{"orderId":"A1","order_lines":[{"job_id":"A1-1-1","completion_stages":["pick","check","pack"]}]}`
	)

	t.Run("by default it is refused, and what is known stays", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "", "completed")
		b.take(t, twoJobs)
		for _, other := range []string{oneJob, restaged} {
			_, err := b.send(other)
			require.ErrorContains(t, err, `order "A1": the order is known with other jobs or stages; see changed`)
			require.True(t, pipeline.IsPermanent(err))
			require.Equal(t, pipeline.ReasonConflict, pipeline.ReasonOf(err))
		}
		require.Len(t, b.known(t, "A1").Jobs, 2)
	})

	t.Run("with update the new one counts, and what is done stays done", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "changed: update", "completed", "errors")
		b.take(t, twoJobs, done("A1-1-1", "pick", 1), done("A1-1-1", "pack", 2), restaged)
		r := b.known(t, "A1")
		require.Len(t, r.Jobs, 1)
		require.Equal(t, "check", r.next(r.Jobs[0]))
		require.True(t, r.done("A1-1-1", "pack"))
		require.Equal(t, "errors", pipeline.OutputOf(b.take(t, done("A1-2-1", "coat", 3))[0]), "the job is gone")

		outs, err := b.sendAs("m-1", twoJobs)
		require.NoError(t, err)
		require.Empty(t, outs)
		require.Len(t, b.known(t, "A1").Jobs, 1, "a late repeat of an earlier order is not a change")

		require.Empty(t, b.take(t, twoJobs))
		r = b.known(t, "A1")
		require.Empty(t, r.next(r.Jobs[0]), "its marks are still there")
		require.Equal(t, "coat", r.next(r.Jobs[1]))
	})

	t.Run("an update that takes away all that was open completes the order", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "changed: update", "completed")
		b.take(t, twoJobs, done("A1-1-1", "pick", 1), done("A1-1-1", "pack", 2))
		outs := b.take(t, oneJob)
		require.Len(t, outs, 1)
		require.NotContains(t, string(outs[0].Payload), "A1-2-1")
		_, err := b.send(twoJobs)
		require.ErrorContains(t, err, "was announced with other jobs")
		require.Equal(t, pipeline.ReasonConflict, pipeline.ReasonOf(err))
	})
}

func TestNew_NeedsWhatItWorksWith(t *testing.T) {
	t.Parallel()
	_, err := handlertest.New(t, Kind(), handlertest.Params{Outputs: []string{"completed"}})
	require.ErrorContains(t, err, "there is no store: set store in the config")
	_, err = handlertest.New(t, Kind(), handlertest.Params{Outputs: []string{"completed", "error"}, State: &handlertest.State{}})
	require.ErrorContains(t, err, `no output "error": it has completed and errors`)
	require.Equal(t, []string{"completed"}, Kind().Outputs(NewConfig()))
	require.Equal(t, []string{"errors"}, Kind().Optional)
}

var quiet = slog.New(slog.DiscardHandler)

// awayState is that of a store that is away.
type awayState struct {
	pipeline.State
	err error
}

func (s awayState) Load(context.Context, string) ([]byte, int64, error) { return nil, 0, s.err }

// TestTroubleWithTheState: what the store says goes up as it is, and what
// cannot be read is nobody's guess.
func TestTroubleWithTheState(t *testing.T) {
	t.Parallel()
	b := newBench(t, "", "completed")
	require.NoError(t, b.state.Save("A1", 0, []byte("{"), 0)(nil))
	_, err := b.send(twoJobs)
	require.ErrorContains(t, err, `order "A1": read what is known of the order`)
	require.True(t, pipeline.IsPermanent(err))
	require.Equal(t, pipeline.ReasonInternal, pipeline.ReasonOf(err))

	away := errors.New("away")
	handle, err := newTracker(pipeline.Env{Log: quiet, State: awayState{err: away}}, NewConfig())
	require.NoError(t, err)
	_, err = handle(handlertest.Message(twoJobs))
	require.ErrorIs(t, err, away)
}
