package email

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/waybill-dev/waybill/handlers/internal/files"
)

// server hands mails to a mail server, each over a connection of its own:
// many goroutines may send at once, and nothing is left open between mails.
type server struct {
	host     string
	address  string // host:port, for errors
	timeout  time.Duration
	implicit bool // TLS from the first byte
	tls      *tls.Config
	options  []gomail.Option
}

func newServer(dir string, c Server) (*server, error) {
	roots, err := files.Roots(dir, c.CAFile)
	if err != nil {
		return nil, err
	}
	s := &server{
		host:     c.Host,
		address:  net.JoinHostPort(c.Host, strconv.Itoa(c.port())),
		timeout:  c.Timeout,
		implicit: c.TLS == TLSFirst,
		tls:      &tls.Config{ServerName: c.Host, RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	s.options = []gomail.Option{
		gomail.WithPort(c.port()),
		gomail.WithTimeout(c.Timeout),
		gomail.WithTLSConfig(s.tls),
		gomail.WithTLSPolicy(policy(c.TLS)),
	}
	if c.User == "" {
		return s, nil
	}
	password, err := files.Secret(dir, c.PasswordFile)
	if err != nil {
		return nil, err
	}
	s.options = append(s.options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover),
		gomail.WithUsername(c.User), gomail.WithPassword(password.Reveal()))
	return s, nil
}

// policy tells go-mail when to use STARTTLS. We dial ourselves, so for TLS
// from the first byte go-mail finds an encrypted connection; Opportunistic
// makes it look, and without that it would hold back the password.
func policy(mode string) gomail.TLSPolicy {
	switch mode {
	case TLSNone:
		return gomail.NoTLS
	case TLSFirst:
		return gomail.TLSOpportunistic
	}
	return gomail.TLSMandatory
}

// send hands over one mail. It returns as soon as ctx ends, with the cause.
func (s *server) send(parent context.Context, letter *gomail.Msg) error {
	ctx, cancel := context.WithTimeout(parent, s.timeout)
	defer cancel() // also closes the connection, see dial
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		return s.dial(ctx, network, address)
	}
	client, err := gomail.NewClient(s.host, append([]gomail.Option{gomail.WithDialContextFunc(dial)}, s.options...)...)
	if err != nil {
		return err
	}
	err = client.DialAndSendWithContext(ctx, letter)
	if err == nil || letter.IsDelivered() {
		return nil // what fails after the server took the mail does not matter
	}
	return s.failed(parent, ctx, err)
}

// dial opens a connection that lives no longer than ctx. go-mail bounds only
// the dialling by its context, and leaves the connection open when greeting,
// TLS or login fail.
func (s *server) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	if !s.implicit {
		return conn, nil
	}
	secure := tls.Client(conn, s.tls)
	return secure, secure.HandshakeContext(ctx)
}
