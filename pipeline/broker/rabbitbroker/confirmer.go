package rabbitbroker

import (
	"encoding/binary"
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

// errRefused is of a message that the broker does not take for now.
var errRefused = errors.New("RabbitMQ refused the message: the queue may be full")

// confirmer is one channel in confirm mode, from open to close. amqp091-go opens
// it, closes it and hands out what comes back by basic.return; messages are
// written, and their confirms read, past it (decision 0023).
type confirmer struct {
	p        *publisher
	conn     *frameConn
	ch       *amqp.Channel
	number   uint16 // the channel's
	frameMax int
	room     *semaphore.Weighted
	closed   chan *amqp.Error
	scratch  [confirmSize]byte // for the goroutine that reads

	mu     sync.Mutex
	over   bool      // nothing may be sent any more
	first  uint64    // the number of flying[0]; RabbitMQ counts from 1
	flying []*flight // sent and not confirmed, in order; nil: confirmed before one that was sent earlier

	telling  sync.Mutex // held by whoever tells what became of messages
	ended    []*flight  // of these
	returns  <-chan amqp.Return
	returned map[place][]string // what the broker said to messages that it could not route
}

// flight is one message on its way through a channel.
type flight struct {
	out *outgoing
	to  pipeline.Confirmer // is told what became of it, as this number
	no  int
}

// charge is what the message takes of a confirmer's room. One that is larger
// than all of it passes alone.
func (o *outgoing) charge() int64 { return min(max(int64(o.size()), minCharge), roomBytes) }

// place identifies a message in flight, as far as its basic.return does.
type place struct{ exchange, key, id string }

// newConfirmer opens the channel. It waits for the broker's answers.
func newConfirmer(p *publisher, conn *connection) (*confirmer, error) {
	ch, number, err := conn.channel()
	if err != nil {
		return nil, classed(fmt.Errorf("open channel: %w", err))
	}
	if err := ch.Confirm(false); err != nil {
		_ = ch.Close()
		return nil, classed(fmt.Errorf("confirm mode: %w", err))
	}
	c := &confirmer{
		p: p, conn: conn.frames, ch: ch, number: number, frameMax: conn.Config.FrameSize,
		room:   semaphore.NewWeighted(roomBytes),
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)),
		first:  1,
		// Room for every message in flight: amqp091-go drops what a full
		// listener does not take within 5 s.
		returns:  ch.NotifyReturn(make(chan amqp.Return, maxFlight)),
		returned: make(map[place][]string),
	}
	conn.frames.register(number, c)
	return c, nil
}

// confirmSize is what a confirm takes of its frame: method, delivery tag and
// flags.
const confirmSize = 4 + 8 + 1

// hear implements hearer: it takes the confirms.
func (c *confirmer) hear(conn *frameConn, f frame) (taken bool, err error) {
	switch {
	case f.method == methodChannelClose:
		c.end()
	case f.size == confirmSize && (f.method == methodBasicAck || f.method == methodBasicNack):
		b, err := conn.take(f, c.scratch[:0])
		if err != nil {
			return false, err
		}
		const multiple = 1
		c.confirmed(binary.BigEndian.Uint64(b[4:]), b[12]&multiple != 0, f.method == methodBasicAck)
		return true, nil
	}
	return false, nil
}

// watch waits for the channel's end, tells those in flight, and returns why it
// ended.
func (c *confirmer) watch() error {
	lost := errLost
	if err := <-c.closed; err != nil {
		lost = fmt.Errorf("publishing channel closed: %w", err)
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	c.end()
	c.land(func() { c.take(len(c.flying)) }, func(f *flight) error {
		if err := c.p.exchanges.blame(lost, f.out.exchange); err != nil {
			return err
		}
		return lost
	})
	return lost
}

// end has nothing be sent any more. The frame that follows our answer to a
// channel.close would close the whole connection.
func (c *confirmer) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
}

// fits refuses what the broker would close the connection or channel for.
func (c *confirmer) fits(out *outgoing) error {
	const frame = frameHead + 1
	if c.frameMax > 0 && len(out.header)+frame > c.frameMax {
		return pipeline.Permanent(pipeline.WithReason(fmt.Errorf(
			"metadata takes %d bytes, RabbitMQ allows %d: carry less metadata, or raise RabbitMQ's frame_max",
			len(out.header), c.frameMax-frame), pipeline.ReasonTooLarge))
	}
	if limit := c.p.exchanges.maxBody.Load(); limit > 0 && int64(len(out.Body)) > limit {
		return tooLarge(out.exchange, len(out.Body), int(limit))
	}
	return nil
}

// send publishes a message, for which room was taken. False: the channel has
// ended, and the room is free again.
func (c *confirmer) send(f *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over && !c.ch.IsClosed() {
		err := c.conn.add(func(b []byte) []byte { return f.out.appendTo(b, c.number, c.frameMax) })
		if err == nil {
			c.flying = append(c.flying, f)
			return true
		}
	}
	c.room.Release(f.out.charge())
	return false
}

// confirmed takes what the broker says to the message that was sent with a
// number, or to all up to it: that it has them, or does not take them for now.
//
// What amqp091-go has closed loses what comes back by basic.return, so a confirm
// after that says nothing: watch tells of its message.
func (c *confirmer) confirmed(number uint64, multiple, acked bool) {
	if c.ch.IsClosed() {
		return
	}
	var how error
	if !acked {
		how = errRefused
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	c.land(
		func() {
			switch n := number - c.first; {
			case n >= uint64(len(c.flying)): // nothing that is in flight
			case multiple:
				c.take(int(n) + 1) //nolint:gosec // it is less than the length
			default:
				c.pick(int(n)) //nolint:gosec // the same
			}
		},
		func(*flight) error { return how },
	)
}

// land has end take messages out of the air, and tells what became of them.
func (c *confirmer) land(end func(), how func(*flight) error) {
	c.mu.Lock()
	end()
	c.mu.Unlock()
	c.readReturns()
	for _, f := range c.ended {
		err := how(f)
		if text, returned := c.takeReturn(f.out); returned {
			err = pipeline.Permanent(pipeline.WithReason(fmt.Errorf(
				"exchange %q has no queue for routing key %q (%s): bind one, or check exchange and routing_key",
				f.out.exchange, f.out.key, text), pipeline.ReasonUnroutable))
		}
		c.room.Release(f.out.charge())
		f.to.Confirmed(f.no, err)
	}
	clear(c.ended)
	c.ended = c.ended[:0]
}

// take ends the first n.
func (c *confirmer) take(n int) {
	for i, f := range c.flying[:n] {
		if f != nil {
			c.ended = append(c.ended, f)
			c.flying[i] = nil
		}
	}
	c.pass(n)
}

// pick ends one, which may have been sent after others that go on.
func (c *confirmer) pick(n int) {
	if f := c.flying[n]; f != nil {
		c.ended = append(c.ended, f)
		c.flying[n] = nil
	}
	for n = 0; n < len(c.flying) && c.flying[n] == nil; {
		n++
	}
	c.pass(n)
}

func (c *confirmer) pass(n int) {
	c.flying = c.flying[n:]
	c.first += uint64(n) //nolint:gosec // it is no less than 0
}

// readReturns reads what came back so far. A return comes before its confirm, but
// through a channel of its own: it is there when the confirm is heard (see
// frameConn.Read), and so everything is read before anything is decided.
func (c *confirmer) readReturns() {
	for {
		select {
		case r, ok := <-c.returns:
			if !ok {
				c.returns = nil
				return
			}
			id, _ := r.Headers[headerID].(string)
			from := place{r.Exchange, r.RoutingKey, id}
			c.returned[from] = append(c.returned[from], r.ReplyText)
		default:
			return
		}
	}
}

// takeReturn reports whether the message was returned.
func (c *confirmer) takeReturn(out *outgoing) (text string, returned bool) {
	if len(c.returned) == 0 {
		return "", false
	}
	at := place{out.exchange, out.key, out.id()}
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
