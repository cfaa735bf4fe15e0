package rabbitbroker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestOpen_Mistakes: a mistake in the config is told at once, with what to
// write, and without the password.
func TestOpen_Mistakes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg  pipeline.Broker
		says string
	}{
		"NotAMQP":     {pipeline.Broker{URL: "http://u:s3cret@h"}, "not an AMQP URL"},
		"Unescaped":   {pipeline.Broker{URL: "amqp://u:s3cret/x@h"}, "percent-encoded"},
		"Space":       {pipeline.Broker{URL: "amqp://u:s3cret @h"}, "percent-encoded"},
		"TLSOnPlain":  {pipeline.Broker{URL: "amqp://u:s3cret@h", TLS: pipeline.TLS{Enabled: true}}, "amqps://"},
		"NoCA":        {pipeline.Broker{URL: "amqps://u:s3cret@h", TLS: pipeline.TLS{CAFile: "nowhere.pem"}}, "ca_file"},
		"NoKey":       {pipeline.Broker{URL: "amqps://u:s3cret@h", TLS: pipeline.TLS{CertFile: "nowhere.pem"}}, "key_file"},
		"SCRAM":       {pipeline.Broker{URL: "amqp://h", SASL: pipeline.SASL{Mechanism: "SCRAM-SHA-256"}}, "PLAIN"},
		"Management":  {pipeline.Broker{URL: "amqp://h", ManagementURL: "ftp://u:s3cret@h"}, "management_url"},
		"Management2": {pipeline.Broker{URL: "amqp://h", ManagementURL: "http://u:s3cret/@h:x"}, "management_url"},
	} {
		test.cfg.Name = "main"
		_, err := Open(test.cfg, broker.Options{Log: slog.New(slog.DiscardHandler)})
		require.ErrorContains(t, err, "broker main: ", name)
		require.ErrorContains(t, err, test.says, name)
		require.NotContains(t, err.Error(), "s3cret", name)
	}
}

// TestEndpoint_Credentials: those of the URL, else those of sasl.
func TestEndpoint_Credentials(t *testing.T) {
	t.Parallel()
	sasl := pipeline.SASL{User: "bob", Password: "pw"}
	for url, want := range map[string]amqp.Authentication{
		"amqp://al:x%2Fy@h":  &amqp.PlainAuth{Username: "al", Password: "x/y"},
		"amqp://h:5673/vh":   &amqp.PlainAuth{Username: "bob", Password: "pw"},
		"amqp://h/v%2Fh?x=1": &amqp.PlainAuth{Username: "bob", Password: "pw"},
	} {
		e, err := newEndpoint(pipeline.Broker{URL: pipeline.Secret(url), SASL: sasl}, "i")
		require.NoError(t, err)
		require.Equal(t, want, e.auth, url)
	}
}

// TestDial_TLS: amqps:// with a CA of one's own, through a proxy that speaks
// TLS in front of the real server.
func TestDial_TLS(t *testing.T) {
	t.Parallel()
	t.Run("1-W14 amqps is TLS, with a certificate that is checked", func(t *testing.T) {
		t.Parallel()
		s := shared(t)
		plain, err := amqp.ParseURI(s.url)
		require.NoError(t, err)
		cert, caFile := selfSigned(t)
		listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
		require.NoError(t, err)
		proxied := make(chan struct{})
		go func() { defer close(proxied); proxy(listener, net.JoinHostPort(plain.Host, strconv.Itoa(plain.Port))) }()
		t.Cleanup(func() { _ = listener.Close(); <-proxied })

		secure := plain
		secure.Scheme, secure.Host = "amqps", "127.0.0.1"
		secure.Port = listener.Addr().(*net.TCPAddr).Port
		s.url = secure.String()
		cfg := s.config()
		cfg.TLS = pipeline.TLS{Enabled: true, CAFile: caFile, ServerName: "rabbit.test"}
		b := openLogged(t, cfg, &logBuffer{})
		require.Eventually(t, func() bool { return b.Health().OK() }, patience, 5*time.Millisecond)
		f := setup(t) // in the clear
		topic := f.topic("out", nil)
		f.provision()
		b.(*Broker).opts.Topic = f.lookup
		require.NoError(t, b.Publisher().Publish(topic.Name, text("m", strings.Repeat("x", 300_000))))
		require.Len(t, f.take(topic.Name).Body, 300_000)
		require.NoError(t, b.Close())

		cfg.TLS.ServerName = "" // 127.0.0.1 is not in the certificate
		b = openLogged(t, cfg, &logBuffer{})
		require.Eventually(t, func() bool { err := b.Health().Err; return err != nil && contains(err.Error(), "certificate") },
			patience, 5*time.Millisecond)
		require.NoError(t, b.Close())
	})
}

func selfSigned(t *testing.T) (cert tls.Certificate, caFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"rabbit.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, caFile
}

// proxy passes bytes on until the listener closes.
func proxy(listener net.Listener, to string) {
	for {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		out, err := new(net.Dialer).DialContext(context.Background(), "tcp", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
	}
}
