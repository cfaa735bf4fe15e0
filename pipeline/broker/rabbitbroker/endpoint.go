package rabbitbroker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
)

const (
	heartbeat   = 10 * time.Second
	dialTimeout = 5 * time.Second
	// handshakeTimeout bounds TLS and AMQP handshake. A broker that refuses a
	// password answers after a second, one under load later.
	handshakeTimeout = 10 * time.Second
)

// endpoint is where the broker is and how to log in.
type endpoint struct {
	uri      amqp.URI
	url      string // with the password
	tls      *tls.Config
	auth     amqp.Authentication
	user     string
	address  string
	instance string
}

// newEndpoint reads the broker's config. Errors never show the URL, whose
// parts may be the password.
func newEndpoint(cfg pipeline.Broker, instance string) (*endpoint, error) {
	uri, err := amqp.ParseURI(cfg.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("broker %s: url is not an AMQP URL: "+
			"write amqp://user:password@host:5672/vhost, special characters percent-encoded", cfg.Name)
	}
	e := &endpoint{
		uri: uri, url: cfg.URL.Reveal(), instance: instance,
		user:    uri.Username,
		address: net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)),
		auth:    uri.PlainAuth(),
	}
	if err := e.setAuth(cfg); err != nil {
		return nil, fmt.Errorf("broker %s: %w", cfg.Name, err)
	}
	if uri.Scheme != "amqps" {
		if cfg.TLS.Enabled {
			return nil, fmt.Errorf("broker %s: tls is set and the url says amqp: write amqps://", cfg.Name)
		}
		return e, nil
	}
	if e.tls, err = tlsConfig(cfg.TLS, uri); err != nil {
		return nil, fmt.Errorf("broker %s: %w", cfg.Name, err)
	}
	return e, nil
}

// setAuth takes user and password from sasl where the URL has none.
func (e *endpoint) setAuth(cfg pipeline.Broker) error {
	switch mechanism := strings.ToUpper(cfg.SASL.Mechanism); mechanism {
	case "", "PLAIN":
	case "EXTERNAL":
		e.auth, e.user = &amqp.ExternalAuth{}, "the client certificate"
		return nil
	default:
		return fmt.Errorf("sasl: RabbitMQ does not know mechanism %s: use PLAIN or EXTERNAL", mechanism)
	}
	if cfg.SASL.User != "" && !strings.Contains(e.url, "@") {
		e.user = cfg.SASL.User
		e.auth = &amqp.PlainAuth{Username: cfg.SASL.User, Password: cfg.SASL.Password.Reveal()}
	}
	return nil
}

// tlsConfig adds what the config says to what the URL's parameters say.
func tlsConfig(cfg pipeline.TLS, uri amqp.URI) (*tls.Config, error) {
	first := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	out := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         first(first(cfg.ServerName, uri.ServerName), uri.Host),
		InsecureSkipVerify: cfg.SkipVerify, //nolint:gosec // asked for by name, logged at start
	}
	if file := first(cfg.CAFile, uri.CACertFile); file != "" {
		pem, err := os.ReadFile(file) //nolint:gosec // a file that the config names
		if err != nil {
			return nil, fmt.Errorf("tls: read ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: %s holds no certificate in PEM form", file)
		}
	}
	cert, key := first(cfg.CertFile, uri.CertFile), first(cfg.KeyFile, uri.KeyFile)
	if cert == "" && key == "" {
		return out, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls: load cert_file and key_file: %w", err)
	}
	out.Certificates = []tls.Certificate{pair}
	return out, nil
}

// connection is one to the broker.
type connection struct {
	*amqp.Connection
	frames *frameConn // what is below it

	opening sync.Mutex // held while a channel is opened, whose number is then the last that was
}

// Channel opens a channel.
func (c *connection) Channel() (*amqp.Channel, error) {
	ch, _, err := c.channel()
	return ch, err
}

// channel opens a channel and returns its number, too, which amqp091-go does not
// tell.
func (c *connection) channel() (*amqp.Channel, uint16, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	ch, err := c.Connection.Channel()
	if err != nil {
		return nil, 0, err
	}
	return ch, c.frames.opened, nil
}

// dial connects; purpose shows in the broker's list of connections.
func (e *endpoint) dial(ctx context.Context, purpose string) (*connection, error) {
	properties := amqp.Table{"product": "Waybill", "platform": "Go"}
	properties.SetClientConnectionName("waybill " + purpose + " " + e.instance)
	conn := &connection{}
	stop := func() bool { return true }
	config := amqp.Config{
		SASL:       []amqp.Authentication{e.auth},
		Heartbeat:  heartbeat,
		Properties: properties,
		Dial: func(string, string) (net.Conn, error) {
			raw, err := e.open(ctx)
			if err != nil {
				return nil, err
			}
			stop = context.AfterFunc(ctx, func() { _ = raw.Close() })
			conn.frames = newFrameConn(raw)
			return conn.frames, nil
		},
	}
	var err error
	// TLS is below what gathers writes and reads frames, and so not amqp091-go's.
	plain := "amqp" + e.url[len(e.uri.Scheme):]
	conn.Connection, err = amqp.DialConfig(plain, config)
	stop()
	if err != nil {
		if conn.frames != nil {
			_ = conn.frames.Close() // amqp091-go leaves it open
		}
		return nil, e.explain(err)
	}
	return conn, nil
}

// open opens the socket, which ends unless the handshake is over in time.
func (e *endpoint) open(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", e.address)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(handshakeTimeout))
	if e.tls == nil {
		return raw, nil
	}
	conn := tls.Client(raw, e.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// explain says where and as whom, and what to do.
func (e *endpoint) explain(err error) error {
	at := fmt.Sprintf("connect to RabbitMQ at %s as %q", e.address, e.user)
	var refused *amqp.Error
	switch {
	case errors.Is(err, amqp.ErrCredentials), errors.Is(err, amqp.ErrSASL):
		err = fmt.Errorf("%s: Access refused for user '%s': check user and password", at, e.user)
	case errors.Is(err, amqp.ErrVhost), errors.As(err, &refused) && refused.Code == amqp.NotAllowed:
		err = fmt.Errorf("%s: %w: check that vhost %q exists and the user may use it", at, err, e.uri.Vhost)
	default:
		err = fmt.Errorf("%s: %w", at, err)
	}
	return pipeline.WithReason(err, pipeline.ReasonUnavailable)
}
