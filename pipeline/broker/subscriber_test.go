package broker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
)

// fakeSource delivers made-up messages over one claim or several, as a driver
// does, and notes what the claims say is done.
type fakeSource struct {
	total  int // messages, dealt out to the claims in turn
	claims int // at least 1
	keys   int // 0: no keys
	size   int // bytes of a payload
	span   int

	mu    sync.Mutex
	taken map[int64]bool // positions told by Take
}

func (s *fakeSource) Run(ctx context.Context, w *Window) error {
	s.taken = make(map[int64]bool)
	var wg sync.WaitGroup
	for c := range s.claims {
		wg.Go(func() { s.runClaim(ctx, w, c) })
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (s *fakeSource) runClaim(ctx context.Context, w *Window, c int) {
	claim := w.Claim(ClaimOptions{Partition: int32(c), MaxSpan: s.span})
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-claim.Changed():
				s.take(claim)
			case <-stop:
				return
			}
		}
	}()
	for pos := c; pos < s.total; pos += s.claims {
		if claim.Deliver(ctx, s.delivery(pos)) != nil {
			break
		}
	}
	<-w.Draining()
	_ = claim.Close(ctx)
	close(stop)
	<-ended
	s.take(claim)
}

func (s *fakeSource) delivery(pos int) Delivery {
	msg := message.NewMessage(fmt.Sprint(pos), make([]byte, s.size))
	key := ""
	if s.keys > 0 {
		key = fmt.Sprint(pos % s.keys)
	}
	return Delivery{Message: msg, Key: key, Position: int64(pos), Origin: pipeline.Origin{Offset: int64(pos)}}
}

func (s *fakeSource) take(c *Claim) {
	p := c.Take(Progress{})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pos := range slices.Concat(p.Prefix, p.Above) {
		if s.taken[pos] {
			panic(fmt.Sprintf("position %d told twice", pos))
		}
		s.taken[pos] = true
	}
}

func newTestSubscriber(sub Subscription, source Source) *Subscriber {
	sub.Name, sub.Topic.Name = "t.h", "t"
	return NewSubscriber(sub, source, slog.New(slog.DiscardHandler))
}

// observed is what the handlers of a run saw.
type observed struct {
	mu      sync.Mutex
	acked   map[int64]bool
	begun   []Delivery // key and position, in order
	running int
	peak    int
	byLane  map[string]int
	clash   bool
}

// handle runs one message: it takes random time, nacks at random, and acks.
func (o *observed) handle(msg *message.Message, lane string, nackOdds float64, settle func(*message.Message, bool)) {
	pos := pipeline.OriginOf(msg.Context()).Offset
	o.mu.Lock()
	o.begun = append(o.begun, Delivery{Key: lane, Position: pos})
	if o.running++; o.running > o.peak {
		o.peak = o.running
	}
	if o.byLane[lane]++; lane != "" && o.byLane[lane] > 1 {
		o.clash = true
	}
	o.mu.Unlock()
	aborted := false
	select {
	case <-time.After(time.Duration(rand.IntN(5)) * time.Millisecond):
	case <-msg.Context().Done():
		aborted = true
	}
	o.mu.Lock()
	o.running--
	o.byLane[lane]--
	nack := rand.Float64() < nackOdds
	if !nack && !aborted {
		o.acked[pos] = true
	}
	o.mu.Unlock()
	if !aborted {
		settle(msg, !nack)
	}
}

func alone(msg *message.Message) []*message.Message { return []*message.Message{msg} }

func byItself(msg *message.Message, done bool) {
	if done {
		msg.Ack()
	} else {
		msg.Nack()
	}
}

func (o *observed) ackedSoFar() map[int64]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.acked)
}

// TestSubscriber_Properties: whatever the load, a run that is drained or
// closed at a random time tells the source exactly what was acked, keeps each
// lane's order and the bounds, and leaves no goroutine behind (the bubble
// would not end).
func TestSubscriber_Properties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		source := &fakeSource{
			total:  rapid.IntRange(0, 400).Draw(rt, "messages"),
			claims: rapid.IntRange(1, 4).Draw(rt, "claims"),
			keys:   rapid.IntRange(0, 12).Draw(rt, "keys"),
			size:   rapid.IntRange(0, 100).Draw(rt, "size"),
			span:   rapid.SampledFrom([]int{0, 1, 7, 100}).Draw(rt, "span"),
		}
		sub := Subscription{
			Ordering:      rapid.SampledFrom([]pipeline.Ordering{pipeline.OrderingNone, pipeline.OrderingKey, pipeline.OrderingPartition}).Draw(rt, "ordering"),
			Concurrency:   rapid.IntRange(1, 32).Draw(rt, "concurrency"),
			InFlight:      rapid.IntRange(1, 64).Draw(rt, "in flight"),
			InFlightBytes: rapid.SampledFrom([]int64{0, 10, 1000}).Draw(rt, "bytes"),
		}
		nackOdds := rapid.SampledFrom([]float64{0, 0.02, 0.3}).Draw(rt, "nacks")
		after := time.Duration(rapid.IntRange(0, 300).Draw(rt, "ms until the end")) * time.Millisecond
		end := rapid.SampledFrom([]string{"drain", "impatient drain", "close", "cancel"}).Draw(rt, "end")
		paused := rapid.Bool().Draw(rt, "paused in between")
		bundles := rapid.Bool().Draw(rt, "bundles")

		o := &observed{acked: make(map[int64]bool), byLane: make(map[string]int)}
		over := false // InFlight went over its bound
		var before map[int64]bool
		synctest.Test(t, func(t *testing.T) {
			s := newTestSubscriber(sub, source)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out, err := s.subscribe(ctx, "t", bundles)
			require.NoError(t, err)
			settle, unpack := byItself, alone
			if bundles {
				settle, unpack = Settle, MessagesOf
			}
			var handlers sync.WaitGroup
			handlers.Go(func() {
				for packed := range out {
					for _, msg := range unpack(packed) {
						over = over || s.InFlight() > max(sub.InFlight, sub.Concurrency)
						lane := laneOf(sub, source, pipeline.OriginOf(msg.Context()).Offset)
						handlers.Go(func() { o.handle(msg, lane, nackOdds, settle) })
					}
				}
			})
			if paused {
				time.Sleep(after / 3) //nolint:forbidigo // in a synctest bubble
				s.Pause()
				time.Sleep(after / 3)  //nolint:forbidigo // in a synctest bubble
				if rand.IntN(2) == 0 { // else it ends paused
					s.Resume()
				}
				time.Sleep(after / 3) //nolint:forbidigo // in a synctest bubble
			} else {
				time.Sleep(after) //nolint:forbidigo // in a synctest bubble
			}
			synctest.Wait()
			before = o.ackedSoFar()
			finish(t, s, end, cancel)
			handlers.Wait()
		})

		for pos := range before {
			require.True(rt, source.taken[pos], "%d was acked before the end, and the source was not told", pos)
		}
		for pos := range source.taken {
			require.True(rt, o.acked[pos], "the source was told of %d, which was not acked", pos)
		}
		if end == "drain" {
			require.Len(rt, source.taken, len(o.acked), "acks of handlers that the drain waited for")
		}
		require.False(rt, over, "messages in flight over the bound")
		require.LessOrEqual(rt, o.peak, sub.Concurrency, "handlers at a time")
		if end == "drain" { // else an aborted handler may overlap with its successor
			require.False(rt, o.clash, "two of one lane at a time")
		}
		last := make(map[string]int64)
		for _, d := range o.begun {
			if d.Key != "" {
				require.GreaterOrEqual(rt, d.Position, last[d.Key], "order of lane %s", d.Key)
				last[d.Key] = d.Position
			}
		}
	})
}

// laneOf says which messages wait for each other. Keys that come from several
// claims have no order among those, so a claim is part of the lane's name.
func laneOf(sub Subscription, s *fakeSource, pos int64) string {
	claim := fmt.Sprintf("c%d", pos%int64(s.claims))
	switch {
	case sub.Ordering == pipeline.OrderingPartition:
		return claim
	case sub.Ordering == pipeline.OrderingKey && s.keys > 0:
		return fmt.Sprintf("%s k%d", claim, pos%int64(s.keys))
	}
	return ""
}

func finish(t *testing.T, s *Subscriber, how string, cancel func()) {
	switch how {
	case "drain":
		require.NoError(t, s.Drain(t.Context()))
	case "impatient drain":
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_ = s.Drain(ctx)
	case "cancel":
		cancel()
	}
	require.NoError(t, s.Close())
}

func TestSubscriber_Misuse(t *testing.T) {
	t.Parallel()
	s := newTestSubscriber(Subscription{}, &fakeSource{claims: 1})
	_, err := s.Subscribe(t.Context(), "other")
	require.ErrorContains(t, err, `this subscriber is for "t"`)
	_, err = s.Subscribe(t.Context(), "t")
	require.NoError(t, err)
	_, err = s.Subscribe(t.Context(), "t")
	require.ErrorContains(t, err, "subscribed already")
	require.NoError(t, s.Close())
	_, err = s.Subscribe(t.Context(), "t")
	require.ErrorContains(t, err, "closed")

	never := newTestSubscriber(Subscription{}, &fakeSource{claims: 1})
	require.NoError(t, never.Drain(t.Context()))
	require.NoError(t, never.Close())
	_, err = never.Subscribe(t.Context(), "t")
	require.ErrorContains(t, err, "closed")
}

func TestSubscriber_DrainTellsHowManyWereLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestSubscriber(Subscription{Concurrency: 2, InFlight: 5}, &fakeSource{total: 9, claims: 1})
		messages, err := s.Subscribe(t.Context(), "t")
		require.NoError(t, err)
		first := <-messages
		synctest.Wait()
		require.Equal(t, 5, s.InFlight())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = s.Drain(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "drain t.h: 1 messages were being handled")
		require.ErrorIs(t, context.Cause(first.Context()), pipeline.ErrStopping)
	})
}

// TestWindow_NackPauseGrows: runs of a message that is always nacked are apart
// by pauses that double up to their bound, and other messages go on.
func TestWindow_NackPauseGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestSubscriber(Subscription{Ordering: pipeline.OrderingKey, Concurrency: 4, InFlight: 8},
			&fakeSource{total: 20, claims: 1, keys: 20})
		messages, err := s.Subscribe(t.Context(), "t")
		require.NoError(t, err)
		var runs []time.Time
		others := 0
		for msg := range messages {
			if msg.UUID != "0" {
				others++
				msg.Ack()
				continue
			}
			msg.Metadata.Set("left", "behind")
			runs = append(runs, time.Now())
			msg.Nack()
			if len(runs) == 14 {
				go func() { _ = s.Close() }()
			}
		}
		require.Equal(t, 19, others)
		for i := 1; i < len(runs); i++ {
			pause := runs[i].Sub(runs[i-1])
			want := min(nackPause<<(i-1), nackPauseMax)
			require.InDelta(t, want, pause, 0.25*float64(want)+1, "pause %d", i)
		}
	})
}

func TestClaim_SkipAndClaimOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		progress := make(chan Progress, 1)
		s := newTestSubscriber(Subscription{Concurrency: 1}, sourceFunc(func(ctx context.Context, w *Window) error {
			claim := w.Claim(ClaimOptions{})
			claim.Skip(0)
			claim.Skip(4)
			d := (&fakeSource{}).delivery(7)
			require.NoError(t, claim.Deliver(ctx, d))
			claim.Skip(9)
			<-w.Draining()
			require.NoError(t, claim.Close(ctx))
			require.NoError(t, claim.Close(ctx)) // again
			progress <- claim.Take(Progress{})
			return nil
		}))
		messages, err := s.Subscribe(t.Context(), "t")
		require.NoError(t, err)
		msg := <-messages
		claim, pos := ClaimOf(msg)
		require.NotNil(t, claim)
		require.Equal(t, int64(7), pos)
		msg.Ack()
		synctest.Wait()
		require.ErrorIs(t, msg.Context().Err(), context.Canceled, "the context ends with the ack")
		require.NoError(t, s.Drain(t.Context()))
		p := <-progress
		require.Equal(t, int64(9), p.UpTo)
		require.Equal(t, []int64{0, 4, 7, 9}, p.Prefix)

		claim, pos = ClaimOf(message.NewMessage("own", nil))
		require.Nil(t, claim)
		require.Equal(t, int64(noPosition), pos)
	})
}

type sourceFunc func(ctx context.Context, w *Window) error

func (f sourceFunc) Run(ctx context.Context, w *Window) error { return f(ctx, w) }

// BenchmarkWindow is what a message costs between Deliver and Take, the
// reader's goroutine included.
func BenchmarkWindow(b *testing.B) {
	for _, ordering := range []pipeline.Ordering{pipeline.OrderingNone, pipeline.OrderingKey} {
		b.Run(string(ordering), func(b *testing.B) {
			b.ReportAllocs()
			s := newTestSubscriber(Subscription{Ordering: ordering, Concurrency: 512, InFlight: 512},
				&fakeSource{total: b.N, claims: 1, keys: 1000})
			bundles, err := s.Bundles().Subscribe(b.Context(), "t")
			require.NoError(b, err)
			for done := 0; done < b.N; {
				msgs := MessagesOf(<-bundles)
				done += len(msgs)
				go func() {
					for _, msg := range msgs {
						Settle(msg, true)
					}
				}()
			}
			require.NoError(b, s.Drain(b.Context()))
		})
	}
}
