package rabbitbroker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/semaphore"

	"github.com/waybill-dev/waybill/pipeline"
)

const (
	// roomBytes bounds what one channel has in flight, and so the memory that
	// a broker which does not read can cost.
	roomBytes = 64 << 20
	// minCharge is the least that a message takes of it, which bounds their
	// number, too.
	minCharge = 16 << 10
	maxFlight = roomBytes / minCharge
)

// confirmer is one channel in confirm mode, from open to close. Nothing but
// basic.publish is ever sent on it: amqp091-go sends a call without the lock
// that publishes hold, and RabbitMQ closes the whole connection when a frame
// comes in between.
type confirmer struct {
	p        *publisher
	ch       *amqp.Channel
	frameMax int
	room     *semaphore.Weighted
	closed   chan *amqp.Error
	gone     chan struct{} // closed when the channel has ended
	err      error         // why; set before gone is closed

	mu       sync.Mutex
	returns  chan amqp.Return
	returned map[place][]string // what the broker said to messages that it could not route

	sent sent // for whose confirms nobody waits
}

// place identifies a message in flight, as far as its basic.return does.
type place struct{ exchange, key, id string }

// newConfirmer opens the channel. It waits for the broker's answers.
func newConfirmer(p *publisher, conn *amqp.Connection) (*confirmer, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, classed(fmt.Errorf("open channel: %w", err))
	}
	if err := ch.Confirm(false); err != nil {
		_ = ch.Close()
		return nil, classed(fmt.Errorf("confirm mode: %w", err))
	}
	c := &confirmer{
		p: p, ch: ch, frameMax: conn.Config.FrameSize,
		room:   semaphore.NewWeighted(roomBytes),
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)),
		gone:   make(chan struct{}),
		// Room for every message in flight: amqp091-go drops what a full
		// listener does not take within 5 s.
		returns:  ch.NotifyReturn(make(chan amqp.Return, maxFlight)),
		returned: make(map[place][]string),
		sent:     sent{woken: make(chan struct{}, 1)},
	}
	if !p.link.spawn(c.follow) {
		_ = ch.Close()
		return nil, errClosed
	}
	return c, nil
}

// watch waits for the channel's end and returns why it ended.
func (c *confirmer) watch() error {
	c.err = errLost
	if err := <-c.closed; err != nil {
		c.err = fmt.Errorf("publishing channel closed: %w", err)
	}
	close(c.gone)
	return c.err
}

// fits refuses what the broker would close the connection or channel for.
func (c *confirmer) fits(j *job) error {
	const frame = 8 // type, channel, size and end
	if c.frameMax > 0 && j.out.headerBytes+frame > c.frameMax {
		return pipeline.Permanent(pipeline.WithReason(fmt.Errorf(
			"metadata takes %d bytes, RabbitMQ allows %d: carry less metadata, or raise RabbitMQ's frame_max",
			j.out.headerBytes, c.frameMax-frame), pipeline.ReasonTooLarge))
	}
	if limit := c.p.exchanges.maxBody.Load(); limit > 0 && int64(len(j.out.Body)) > limit {
		return tooLarge(j.out.exchange, len(j.out.Body), int(limit))
	}
	return nil
}

// waitForRoom takes room for j. False: j has failed.
func (c *confirmer) waitForRoom(j *job) bool {
	if err := c.room.Acquire(j.ctx, j.charge()); err != nil {
		j.fail(pipeline.WithReason(fmt.Errorf("wait for earlier messages: %w", context.Cause(j.ctx)), pipeline.ReasonUnavailable))
		return false
	}
	c.room.Release(j.charge()) // the caller takes it
	return true
}

// send publishes j, for which there is room. An error leaves j open: the
// channel has just ended.
func (c *confirmer) send(j *job) {
	j.via, j.refused = c, false
	confirm, err := c.ch.PublishWithDeferredConfirm(j.out.exchange, j.out.key, true, false, j.out.Publishing)
	if err != nil {
		c.room.Release(j.charge())
		return
	}
	j.confirm, j.sent = confirm, true
}

// settle takes the outcome of j, whose confirm is there. It leaves j open if
// it must be sent again.
func (c *confirmer) settle(j *job) {
	acked := j.confirm.Acked()
	j.confirm = nil
	c.room.Release(j.charge())
	text, returned := c.takeReturn(place{j.out.exchange, j.out.key, j.out.id()})
	switch {
	case returned:
		j.fail(pipeline.Permanent(pipeline.WithReason(fmt.Errorf(
			"exchange %q has no queue for routing key %q (%s): bind one, or check exchange and routing_key",
			j.out.exchange, j.out.key, text), pipeline.ReasonUnroutable)))
	case acked:
		j.done = true
	case !c.ch.IsClosed():
		j.refused, j.why = true, errors.New("RabbitMQ refused the message: the queue may be full")
	default:
		<-c.gone
		j.why = c.err
		if err := c.p.exchanges.blame(c.err, j.out.exchange); err != nil {
			j.fail(err)
		}
	}
}

// takeReturn reports whether the message was returned. A return comes before
// its confirm, but through a channel of its own: so everything in it is taken
// before anything is decided.
func (c *confirmer) takeReturn(at place) (text string, returned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		select {
		case r, ok := <-c.returns:
			if !ok {
				c.returns = nil
				continue
			}
			id, _ := r.Headers[headerID].(string)
			from := place{r.Exchange, r.RoutingKey, id}
			c.returned[from] = append(c.returned[from], r.ReplyText)
			continue
		default:
		}
		texts := c.returned[at]
		if len(texts) == 0 {
			return "", false
		}
		if len(texts) == 1 {
			delete(c.returned, at)
		} else {
			c.returned[at] = texts[1:]
		}
		return texts[0], true
	}
}

// bodyLimit finds the limit in RabbitMQ's complaint about a message that is
// too large.
var bodyLimit = regexp.MustCompile(`larger than (?:configured )?max size (\d+)`)

func limitIn(err error) int64 {
	if found := bodyLimit.FindStringSubmatch(err.Error()); found != nil {
		n, _ := strconv.ParseInt(found[1], 10, 64)
		return n
	}
	return 0
}
