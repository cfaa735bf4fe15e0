package rabbitbroker

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// deaf is a connection to somebody who stops reading.
type deaf struct {
	net.Conn
	stopped, closed bool
	tried           int // writes after that
}

func (d *deaf) Write(b []byte) (int, error) {
	if !d.stopped {
		return d.Conn.Write(b)
	}
	if !d.closed {
		d.tried++
	}
	return 0, errors.New("timeout")
}

func (d *deaf) Close() error {
	d.closed = true
	return d.Conn.Close()
}

// TestBufferedConn_Deaf: nothing more is written to somebody who does not read. TLS
// would, and wait for that, before it closes.
func TestBufferedConn_Deaf(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer func() { _ = there.Close() }()
	cert, _ := selfSigned(t)
	shaken := make(chan error, 1)
	go func() {
		shaken <- tls.Server(there, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}).Handshake()
	}()
	d := &deaf{Conn: here}
	secure := tls.Client(d, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) //nolint:gosec // nobody is to be trusted
	require.NoError(t, secure.Handshake())
	require.NoError(t, <-shaken)
	d.stopped = true
	c := newBufferedConn(secure)
	_, err := c.Write([]byte("x"))
	require.NoError(t, err)
	<-c.done
	require.True(t, d.closed)
	require.Equal(t, 1, d.tried)
}
