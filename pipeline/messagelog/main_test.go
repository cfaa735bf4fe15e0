package messagelog

import (
	"context"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub is a store.Log that keeps what is appended, when it is let.
type stub struct {
	store.Log
	gate chan struct{} // nil: open
	trim func(store.LogRule) (int, error)

	mu      sync.Mutex
	entries []store.LogEntry
}

func (s *stub) AppendLog(ctx context.Context, entries []store.LogEntry) error {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, entries...)
	return nil
}

func (s *stub) TrimLog(_ context.Context, r store.LogRule) (int, error) {
	if s.trim == nil {
		return 0, nil
	}
	return s.trim(r)
}

// everything is a config that keeps all there is.
var everything = pipeline.MessageLog{Mode: pipeline.LogAll, Payload: true}

// handled returns a message with the context that the chain gives it, and its
// handling.
func handled(l *Log, id string, payload []byte) (*message.Message, *pipeline.Outcome, *Handling) {
	outcome := &pipeline.Outcome{}
	ctx := pipeline.WithIdentity(pipeline.WithOutcome(context.Background(), outcome), pipeline.Identity{Message: id, Correlation: "c-" + id})
	msg := message.NewMessageWithContext(ctx, id, payload)
	h := l.Begin(&Route{Handler: "work", Topic: "in", Subscription: "in.work"}, msg)
	outcome.Witness = h
	return msg, outcome, h
}
