package email_test

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

const (
	user     = "shop"
	password = "canary-pass-8c1f"
)

// post is a real mail server on loopback that keeps what it is given.
type post struct {
	dir         string // holds ca.pem and the file "password"
	port        int
	refuse      map[string]*smtp.SMTPError // what it answers to hello, mail, rcpt, data, login
	onMail      func()                     // runs at every MAIL command
	hangUp      bool                       // breaks the connection instead of confirming a mail
	hangUpLater bool                       // breaks it right after
	insecure    bool                       // offers no STARTTLS
	implicit    bool                       // speaks TLS from the first byte

	mu      sync.Mutex
	letters []letter
}

// letter is one mail as it arrived.
type letter struct {
	from, to string // of the envelope
	secure   bool   // came over TLS
	login    string // who was logged in
	raw      string
}

func (l letter) parse(t *testing.T) (header mail.Header, body string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(l.raw))
	require.NoError(t, err)
	text, err := io.ReadAll(m.Body)
	require.NoError(t, err)
	return m.Header, string(text)
}

// start opens the server. It is closed at the end of the test.
func (p *post) start(t *testing.T) *post {
	t.Helper()
	p.dir = t.TempDir()
	cert := p.certificate(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "password"), []byte(password+"\n"), 0o600))

	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		s := &session{post: p, conn: c}
		return s, s.answer("hello")
	}))
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if !p.insecure && !p.implicit {
		server.TLSConfig = config
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.port = listener.Addr().(*net.TCPAddr).Port
	if p.implicit {
		listener = tls.NewListener(listener, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close() // Serve may not have got to the listener yet
		<-done
	})
	return p
}

// certificate borrows the one that httptest has for 127.0.0.1.
func (p *post) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	lender := httptest.NewTLSServer(http.NotFoundHandler())
	defer lender.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lender.Certificate().Raw})
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "ca.pem"), ca, 0o600))
	return lender.TLS.Certificates[0]
}

// received returns the mails so far.
func (p *post) received() []letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.letters
}

// with is a config for this server, with more lines below it.
func (p *post) with(mode, more string) string {
	return fmt.Sprintf("mode: smtp\n"+
		"server: {host: 127.0.0.1, port: %d, tls: %s, ca_file: ca.pem, user: %s, password_file: password, timeout: 20s}\n"+
		"from: The Shop <orders@shop.example>\n", p.port, mode, user) + more
}

// session is one connection to the server.
type session struct {
	post *post
	conn *smtp.Conn
	next letter
}

func (s *session) answer(command string) error {
	if refusal := s.post.refuse[command]; refusal != nil {
		return refusal
	}
	return nil
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, pass string) error {
		if name != user || pass != password {
			return smtp.ErrAuthFailed
		}
		s.next.login = name
		return s.answer("login")
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.post.onMail != nil {
		s.post.onMail()
	}
	s.next.from = from
	return s.answer("mail")
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.next.to = to
	return s.answer("rcpt")
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.answer("data"); err != nil {
		return err
	}
	s.next.raw = string(raw)
	_, s.next.secure = s.conn.TLSConnectionState()
	s.post.mu.Lock()
	s.post.letters = append(s.post.letters, s.next)
	s.post.mu.Unlock()
	if s.post.hangUp {
		_ = s.conn.Conn().Close()
		return errors.New("hung up")
	}
	return nil
}

// Reset comes after a mail, once its answer is on its way.
func (s *session) Reset() {
	if s.post.hangUpLater && s.next.raw != "" {
		_ = s.conn.Conn().Close()
	}
}

func (s *session) Logout() error { return nil }
