package rabbitbroker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// aliveEvery is how often amqp091-go hears that the broker is there while all
// that comes is taken. It gives up a connection on which it has read nothing for
// one and a half heartbeats, of which one may pass before RabbitMQ sends the
// first.
const aliveEvery = 100 * time.Millisecond

var errFrame = errors.New("RabbitMQ sent a frame that is not as AMQP 0-9-1 says")

// frameConn is the bufferedConn below amqp091-go. Who hears a channel takes what
// comes often on it, deliveries and confirms, out of what amqp091-go reads; all
// else, from the handshake to basic.return, is amqp091-go's as ever (decision
// 0023).
type frameConn struct {
	*bufferedConn

	hearing sync.Mutex
	hearers map[uint16]hearer // by channel

	// What follows is for the goroutine that reads.
	opened uint16    // the channel that was opened last
	left   int       // how much of a frame that amqp091-go reads it has not read
	told   time.Time // when amqp091-go was last told that the broker is there
}

// hearer is told of the frames of a channel, before amqp091-go reads them and
// after it has seen to all that came before.
type hearer interface {
	// hear may take the frame, and then returns true.
	hear(c *frameConn, f frame) (taken bool, err error)
}

// frame is the head of one.
type frame struct {
	kind    byte
	channel uint16
	size    int    // of what is in it
	method  uint32 // 0: it is no method
}

func newFrameConn(conn net.Conn) *frameConn {
	return &frameConn{bufferedConn: newBufferedConn(conn), hearers: make(map[uint16]hearer)}
}

// register has h hear the channel until that is closed.
func (c *frameConn) register(channel uint16, h hearer) {
	c.hearing.Lock()
	defer c.hearing.Unlock()
	c.hearers[channel] = h
}

func (c *frameConn) forget(channel uint16) {
	c.hearing.Lock()
	defer c.hearing.Unlock()
	delete(c.hearers, channel)
}

func (c *frameConn) hearerOf(channel uint16) hearer {
	c.hearing.Lock()
	defer c.hearing.Unlock()
	return c.hearers[channel]
}

// Read reads what is for amqp091-go; one goroutine at a time. It never gives more
// than a frame: so whoever reads has seen to all that came before a frame that is
// heard, to a basic.return before its confirm; or has dropped it, where it has
// closed the channel.
func (c *frameConn) Read(p []byte) (int, error) {
	for c.left == 0 {
		taken, err := c.next()
		if err != nil {
			return 0, err
		}
		if taken && time.Since(c.told) > aliveEvery && len(p) >= len(heartbeatFrame) {
			c.told = time.Now()
			return copy(p, heartbeatFrame), nil
		}
	}
	n, err := c.reads.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// next looks at the frame that begins, and has it heard. One that nobody takes is
// left to be read.
func (c *frameConn) next() (taken bool, err error) {
	head, err := c.reads.Peek(frameHead)
	if err != nil {
		return false, err
	}
	f := frame{kind: head[0], channel: binary.BigEndian.Uint16(head[1:]), size: int(binary.BigEndian.Uint32(head[3:]))}
	c.left = frameHead + f.size + 1
	if f.kind == frameMethod && f.size >= 4 {
		if head, err = c.reads.Peek(frameHead + 4); err != nil {
			return false, err
		}
		f.method = binary.BigEndian.Uint32(head[frameHead:])
	}
	switch h := c.hearerOf(f.channel); {
	case f.method == methodChannelOpenOK:
		c.opened = f.channel
		c.forget(f.channel) // who registered too late for the one that had its number before
	case h != nil:
		taken, err = h.hear(c, f)
	}
	if f.method == methodChannelClose || f.method == methodChannelCloseOK {
		c.forget(f.channel)
	}
	return taken, err
}

// peek returns what is in the frame, which is small, and leaves it to be read.
func (c *frameConn) peek(f frame) ([]byte, error) {
	whole, err := c.reads.Peek(frameHead + f.size + 1)
	if err != nil {
		return nil, err
	}
	return whole[frameHead : frameHead+f.size], nil
}

// step is how much memory is taken at a time for what has not come yet: a broken
// size may say anything.
const step = 1 << 20

// take takes the frame, and returns b with what is in it behind.
func (c *frameConn) take(f frame, b []byte) ([]byte, error) {
	if _, err := c.reads.Discard(frameHead); err != nil {
		return nil, err
	}
	for left := f.size; left > 0; {
		n := min(left, step)
		b = slices.Grow(b, n)
		b = b[:len(b)+n]
		if _, err := io.ReadFull(c.reads, b[len(b)-n:]); err != nil {
			return nil, err
		}
		left -= n
	}
	c.left = 0
	end, err := c.reads.ReadByte()
	if err == nil && end != frameEnd {
		err = errFrame
	}
	return b, err
}
