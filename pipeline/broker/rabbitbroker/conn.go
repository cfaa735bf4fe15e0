package rabbitbroker

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

const (
	// readBuffer is how much is read from the socket at a time; amqp091-go
	// alone reads 4 KiB, which is a system call for every few messages.
	readBuffer = 64 << 10
	// keepBuffer is how large a write buffer may be and still be kept.
	keepBuffer = 1 << 20
	// closeGrace is how long Close lets the last bytes leave.
	closeGrace = time.Second
)

// bufferedConn is a connection whose Write never waits for the network: it
// copies, and one goroutine sends what has gathered. Two things come of that.
// Whoever publishes or acknowledges is never held by a broker that has stopped
// reading (blocked by an alarm, or frozen), so deadlines can be kept. And what
// many goroutines write at the same time leaves in one system call.
//
// What may gather is bounded by those who write: publishers by a confirmer's
// room, acknowledgements by the prefetch.
type bufferedConn struct {
	net.Conn
	reads *bufio.Reader

	mu      sync.Mutex
	pending []byte // to be sent
	spare   []byte // the buffer that was sent last
	err     error  // set when sending failed or the connection is closed

	wake chan struct{} // holds a token while there is something to send
	done chan struct{} // closed when the goroutine has ended
}

func newBufferedConn(conn net.Conn) *bufferedConn {
	c := &bufferedConn{
		Conn:  conn,
		reads: bufio.NewReaderSize(conn, readBuffer),
		wake:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	go c.send()
	return c
}

// Read reads; one goroutine at a time.
func (c *bufferedConn) Read(p []byte) (int, error) { return c.reads.Read(p) }

// Write takes p. The error is that of an earlier send.
func (c *bufferedConn) Write(p []byte) (int, error) {
	return len(p), c.add(func(b []byte) []byte { return append(b, p...) })
}

// add has f append to what is to be sent, which nobody else does meanwhile. The
// error is that of an earlier send.
func (c *bufferedConn) add(f func([]byte) []byte) error {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	c.pending = f(c.pending)
	c.mu.Unlock()
	c.signal()
	return nil
}

func (c *bufferedConn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send writes what has gathered until the connection is closed or broken.
func (c *bufferedConn) send() {
	defer close(c.done)
	for range c.wake {
		c.mu.Lock()
		batch, ended := c.pending, c.err != nil
		c.pending, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		if _, err := c.Conn.Write(batch); err != nil {
			c.fail(err)
			c.cut() // so that the reader sees it too
			return
		}
		if ended {
			return
		}
		if cap(batch) <= keepBuffer {
			c.mu.Lock()
			c.spare = batch[:0]
			c.mu.Unlock()
		}
	}
}

// cut closes the connection. TLS would take five seconds more to say so to a
// broker that does not read.
func (c *bufferedConn) cut() {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.NetConn().Close()
	}
	_ = c.Conn.Close()
}

// fail has Write return err from now on, and reports whether it is the first.
func (c *bufferedConn) fail(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = err
	return true
}

// Close sends what is left, for no longer than closeGrace, and closes.
func (c *bufferedConn) Close() error {
	if c.fail(net.ErrClosed) {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(closeGrace))
		c.signal()
	}
	<-c.done
	return c.Conn.Close()
}
