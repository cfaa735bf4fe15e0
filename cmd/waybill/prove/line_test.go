package prove

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// line is a way to a server that can be cut.
type line struct {
	url string // of the server, over the line

	mu    sync.Mutex
	conns []net.Conn
	muted bool
}

// newLine makes a line to the server at that URL, which goes with the test.
func newLine(t *testing.T, server string) *line {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	to := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u.Host = listener.Addr().String()
	l := &line{url: u.String()}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			l.keep(in, out)
			for _, way := range []struct {
				to   io.WriteCloser
				from io.Reader
			}{{answers{in, l}, out}, {out, in}} {
				passing.Go(func() {
					_, _ = io.Copy(way.to, way.from)
					_ = way.to.Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
		passing.Wait()
	})
	return l
}

func (l *line) keep(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, conns...)
}

// cut breaks all connections that there are. New ones can be made.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

// mute has what the server says go nowhere, or not any more.
func (l *line) mute(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.muted = on
}

// answers is the way back.
type answers struct {
	io.WriteCloser
	line *line
}

func (a answers) Write(b []byte) (int, error) {
	a.line.mu.Lock()
	muted := a.line.muted
	a.line.mu.Unlock()
	if muted {
		return len(b), nil
	}
	return a.WriteCloser.Write(b)
}
