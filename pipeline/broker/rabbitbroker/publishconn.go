package rabbitbroker

import (
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// aliveEvery is how often amqp091-go hears that the broker is there while all
// that comes are confirms. It gives up a connection on which it has read nothing
// for one and a half heartbeats, of which one may pass before RabbitMQ sends the
// first.
const aliveEvery = 100 * time.Millisecond

// confirmSize is what a confirm takes of its frame: method, delivery tag and
// flags.
const confirmSize = 4 + 8 + 1

var errFrame = errors.New("RabbitMQ sent a frame that does not end where it says")

// publishConn is the bufferedConn of a connection that publishes. What is
// published is written to it, past amqp091-go (see confirmer.send), and it keeps
// the confirms for that, out of what amqp091-go reads from it. All else, from the
// handshake to basic.return, is amqp091-go's as ever (decision 0023).
type publishConn struct {
	*bufferedConn

	// hears is told what comes for the channel in confirm mode. There is one such
	// channel at a time.
	hears atomic.Pointer[confirmer]

	// What follows is for the goroutine that reads.
	channel uint16    // the latest that was put into confirm mode; 0: none yet
	left    int       // how much amqp091-go has not read of the frame that it reads
	told    time.Time // when amqp091-go was last told that the broker is there
}

func newPublishConn(conn net.Conn) *publishConn {
	return &publishConn{bufferedConn: newBufferedConn(conn)}
}

// Read reads what is for amqp091-go; one goroutine at a time. It never gives more
// than a frame: so whoever reads has seen to all that came before a confirm, and a
// basic.return with it, when the confirm is heard; or has dropped it, where it has
// closed the channel.
func (c *publishConn) Read(p []byte) (int, error) {
	for c.left == 0 {
		confirm, err := c.frame()
		if err != nil {
			return 0, err
		}
		if confirm && time.Since(c.told) > aliveEvery && len(p) >= len(heartbeatFrame) {
			c.told = time.Now()
			return copy(p, heartbeatFrame), nil
		}
	}
	n, err := c.reads.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// frame looks at the frame that begins. One with a confirm it takes, and reports
// true; else it is left to be read.
func (c *publishConn) frame() (confirm bool, err error) {
	head, err := c.reads.Peek(frameHead)
	if err != nil {
		return false, err
	}
	kind, channel, size := head[0], binary.BigEndian.Uint16(head[1:]), int(binary.BigEndian.Uint32(head[3:]))
	c.left = frameHead + size + 1
	if kind != frameMethod || size < 4 {
		return false, nil
	}
	if head, err = c.reads.Peek(frameHead + 4); err != nil {
		return false, err
	}
	method := binary.BigEndian.Uint32(head[frameHead:])
	if method == methodConfirmSelectOK {
		c.channel = channel
	}
	hears := c.hears.Load()
	if hears == nil || channel != c.channel {
		return false, nil
	}
	switch {
	case method == methodChannelClose:
		hears.end()
	case size == confirmSize && (method == methodBasicAck || method == methodBasicNack):
		return true, c.confirm(hears, method == methodBasicAck)
	}
	return false, nil
}

// confirm takes the frame of a confirm.
func (c *publishConn) confirm(hears *confirmer, acked bool) error {
	const multiple = 1
	frame, err := c.reads.Peek(c.left)
	if err != nil {
		return err
	}
	if frame[c.left-1] != frameEnd {
		return errFrame
	}
	tag, bits := binary.BigEndian.Uint64(frame[frameHead+4:]), frame[frameHead+12]
	_, err = c.reads.Discard(c.left)
	c.left = 0
	hears.confirmed(tag, bits&multiple != 0, acked)
	return err
}
