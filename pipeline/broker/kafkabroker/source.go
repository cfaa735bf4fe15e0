package kafkabroker

import (
	"context"
	"log/slog"
	"sync"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// source is a subscription's member of its consumer group, which is named as
// the subscription is.
type source struct {
	b   *Broker
	sub broker.Subscription
	log *slog.Logger
}

// Run is a group member until the window drains or ctx is done. See
// broker.Source.
func (s *source) Run(ctx context.Context, w *broker.Window) error {
	instance, free := s.b.member(s.sub)
	defer free()
	m := &member{
		source: s, w: w, hard: ctx, settled: make(chan struct{}, 1), unsaved: make(map[int32]unsaved),
		committer: committer{b: s.b, group: s.sub.Name, instance: instance, topic: s.sub.Topic.Name},
	}
	var stop context.CancelFunc
	m.intake, stop = context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-w.Draining():
		case <-m.intake.Done():
		}
		stop()
	})
	defer waiting.Wait()
	defer stop()
	return m.run()
}
