package rabbitbroker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
)

// refusalLasts is how long an exchange that cannot be published to is not
// tried again.
const refusalLasts = 2 * time.Second

// exchanges knows which exchanges can be published to. Publishing to one that
// is not there closes the channel, and with it the confirms of everybody
// else's messages: so each that we have not just made is looked at first, on a
// channel of its own, and what the broker closed a channel for is remembered.
type exchanges struct {
	b       *Broker
	known   sync.Map     // of string to true
	maxBody atomic.Int64 // a limit of the broker's that it told when it was broken; 0: none known

	mu      sync.Mutex
	checks  map[string]*lookup
	refused map[string]refusal
}

// lookup is one exchange being looked at, for all who ask.
type lookup struct {
	done chan struct{}
	err  error
}

type refusal struct {
	err   error
	until time.Time
}

func newExchanges(b *Broker) *exchanges {
	e := &exchanges{b: b, checks: make(map[string]*lookup), refused: make(map[string]refusal)}
	e.made(amqp.DefaultExchange)
	return e
}

// isKnown reports whether the exchange was there when that was looked at.
func (e *exchanges) isKnown(name string) bool {
	_, known := e.known.Load(name)
	return known
}

// check returns nil if the exchange is there as far as is known.
func (e *exchanges) check(ctx context.Context, name string) error {
	if e.isKnown(name) {
		return nil
	}
	if err := e.refusal(name); err != nil {
		return err
	}
	if name == amqp.DefaultExchange { // always there
		e.known.Store(name, true)
		return nil
	}
	l := e.lookup(name)
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return pipeline.WithReason(fmt.Errorf("look at exchange %q: %w", name, context.Cause(ctx)), pipeline.ReasonUnavailable)
	}
}

func (e *exchanges) lookup(name string) *lookup {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.checks[name]; l != nil {
		return l
	}
	l := &lookup{done: make(chan struct{})}
	e.checks[name] = l
	look := func() {
		err := e.b.consume.do(e.b.consume.life, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(name, typeTopic, true, false, false, false, nil)
		})
		switch {
		case err == nil:
			e.known.Store(name, true)
		case mayPass(err):
			l.err = classed(fmt.Errorf("look at exchange %q: %w", name, err))
		default:
			l.err = e.refuse(name, err)
		}
		e.mu.Lock()
		delete(e.checks, name)
		e.mu.Unlock()
		close(l.done)
	}
	if !e.b.consume.spawn(look) {
		l.err = errClosed
		close(l.done)
	}
	return l
}

// refusal returns why the exchange is not to be tried for now.
func (e *exchanges) refusal(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.refused[name]
	if ok && time.Now().After(r.until) {
		delete(e.refused, name)
		return nil
	}
	return r.err
}

func (e *exchanges) refuse(name string, cause error) error {
	err := pipeline.Permanent(pipeline.WithReason(fmt.Errorf(
		"exchange %q cannot be published to: %w: create it (provision: create), or check exchange and the user's permissions",
		name, cause), pipeline.ReasonUnroutable))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.known.Delete(name)
	e.refused[name] = refusal{err: err, until: time.Now().Add(refusalLasts)}
	return err
}

// made says that an exchange is there.
func (e *exchanges) made(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.refused, name)
	e.known.Store(name, true)
}

// lost forgets what was known: the channel has ended with err. If that was
// about a message's size, the limit is learnt.
func (e *exchanges) lost(err error) {
	e.known.Clear()
	if n := limitIn(err); n > 0 {
		e.maxBody.Store(n)
	}
}

// blame returns the error of a message that was in flight to an exchange when
// the broker closed the channel, if that was because of this exchange.
func (e *exchanges) blame(err error, name string) error {
	r, quoted := reply(err), name
	if name == amqp.DefaultExchange {
		quoted = "amq.default"
	}
	if r == nil || (r.Code != amqp.NotFound && r.Code != amqp.AccessRefused) ||
		!strings.Contains(r.Reason, "exchange '"+quoted+"'") {
		return nil
	}
	if known := e.refusal(name); known != nil {
		return known
	}
	return e.refuse(name, err)
}
