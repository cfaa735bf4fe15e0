package rabbitbroker

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// inbox hears a channel for its consumer, and has what that was sent and has not
// taken yet. The prefetch bounds it.
type inbox struct {
	prefix []byte // how its deliveries begin: with the consumer's tag

	// What follows is for the goroutine that reads.
	comes   bool          // more of a delivery is to come
	coming  amqp.Delivery // what has come of it, without its headers
	headers []field
	left    uint64 // what is missing of its body
	scratch []byte

	mu      sync.Mutex
	arrived []arrival
	wake    chan struct{} // holds a token when something may have arrived
}

// arrival is a message as its consumer was sent it.
type arrival struct {
	msg         *message.Message
	tag         uint64
	redelivered bool
}

func newInbox(tag string) *inbox {
	return &inbox{prefix: appendShort(nil, tag), wake: make(chan struct{}, 1)}
}

// take returns what has arrived since the last call, whose result it uses again.
func (i *inbox) take(last []arrival) []arrival {
	i.mu.Lock()
	defer i.mu.Unlock()
	arrived := i.arrived
	i.arrived = last[:0]
	return arrived
}

// hear implements hearer: it takes the consumer's deliveries, each a method, a
// header, and the frames of a body. Those of another consumer on the channel it
// leaves (see barrier).
func (i *inbox) hear(c *frameConn, f frame) (taken bool, err error) {
	switch {
	case f.kind == frameMethod:
		i.comes = false
		if f.method == methodBasicDeliver {
			err = i.begin(c, f)
		}
		return i.comes, err
	case !i.comes:
		return false, nil
	case f.kind == frameHeader:
		return true, i.header(c, f)
	case f.kind == frameBody:
		return true, i.body(c, f)
	}
	return false, errFrame
}

// begin takes the method of a delivery, if it is the consumer's: its tag, the
// message's number, whether it comes again, and where it was published.
func (i *inbox) begin(c *frameConn, f frame) error {
	const most = 4 + 256 + 8 + 1 + 256 + 256
	if f.size > most {
		return errFrame
	}
	b, err := c.peek(f)
	if err != nil {
		return err
	}
	rest, ours := bytes.CutPrefix(b[4:], i.prefix)
	if !ours {
		return nil
	}
	if len(rest) < 9 {
		return errFrame
	}
	if i.scratch, err = c.take(f, i.scratch[:0]); err != nil {
		return err
	}
	rest = i.scratch[4+len(i.prefix):]
	i.comes, i.coming = true, amqp.Delivery{DeliveryTag: binary.BigEndian.Uint64(rest), Redelivered: rest[8]&1 == 1}
	p := parser{left: string(rest[9:])}
	if i.coming.Exchange, i.coming.RoutingKey = p.short(), p.short(); p.bad {
		return errFrame
	}
	return nil
}

// header takes a content header. All text of the message is a part of one string.
func (i *inbox) header(c *frameConn, f frame) (err error) {
	if i.scratch, err = c.take(f, i.scratch[:0]); err != nil {
		return err
	}
	p := parser{left: string(i.scratch)}
	i.left, i.headers = p.header(&i.coming, i.headers[:0])
	if p.bad {
		return errFrame
	}
	i.coming.Body = make([]byte, 0, min(i.left, step))
	if i.left == 0 {
		i.put()
	}
	return nil
}

func (i *inbox) body(c *frameConn, f frame) (err error) {
	if i.coming.Body == nil || uint64(f.size) > i.left { //nolint:gosec // it is no less than 0
		return errFrame
	}
	if i.coming.Body, err = c.take(f, i.coming.Body); err != nil {
		return err
	}
	if i.left -= uint64(f.size); i.left == 0 { //nolint:gosec // as above
		i.put()
	}
	return nil
}

// put has the message arrive.
func (i *inbox) put() {
	a := arrival{decodeWith(&i.coming, i.headers), i.coming.DeliveryTag, i.coming.Redelivered}
	i.comes, i.coming = false, amqp.Delivery{}
	clear(i.headers)
	i.mu.Lock()
	i.arrived = append(i.arrived, a)
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}
