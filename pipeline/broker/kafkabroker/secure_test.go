package kafkabroker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

const password = "pass-that-must-not-show"

func TestOpen_RefusesBadConfigs(t *testing.T) {
	t.Parallel()
	sasl := func(mechanism, user string, secret pipeline.Secret) pipeline.SASL {
		return pipeline.SASL{Mechanism: mechanism, User: user, Password: secret}
	}
	junk := filepath.Join(t.TempDir(), "junk.pem")
	require.NoError(t, os.WriteFile(junk, []byte("junk"), 0o600))
	tests := map[string]struct {
		cfg  pipeline.Broker
		says string
	}{
		"no url":            {pipeline.Broker{}, "names no broker"},
		"no port":           {pipeline.Broker{URL: "kafka-1"}, "host:port"},
		"password in url":   {pipeline.Broker{URL: "u:" + password + "@kafka-1:9092"}, "belong under sasl"},
		"plain in clear":    {pipeline.Broker{URL: "kafka-1:9092", SASL: sasl("PLAIN", "u", password)}, "clear text"},
		"plain, one remote": {pipeline.Broker{URL: "127.0.0.1:1,kafka-1:9092", SASL: sasl("PLAIN", "u", password)}, "clear text"},
		"unknown mechanism": {pipeline.Broker{URL: "k:1", SASL: sasl("GSSAPI", "u", password)}, "SCRAM-SHA-512"},
		"no password":       {pipeline.Broker{URL: "k:1", SASL: sasl("SCRAM-SHA-256", "u", "")}, "needs user and password"},
		"no CA":             {pipeline.Broker{URL: "k:1", TLS: pipeline.TLS{Enabled: true, CAFile: "/nowhere.pem"}}, "ca_file"},
		"junk CA":           {pipeline.Broker{URL: "k:1", TLS: pipeline.TLS{Enabled: true, CAFile: junk}}, "no PEM certificate"},
		"junk certificate":  {pipeline.Broker{URL: "k:1", TLS: pipeline.TLS{Enabled: true, CertFile: junk, KeyFile: junk}}, "cert_file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(test.cfg, broker.Options{Log: quiet()})
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), password)
		})
	}
}

func TestOpen_Loopback(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"127.0.0.1:1", "localhost:1", "[::1]:1"} {
		require.True(t, loopback([]string{addr}), addr)
	}
	for _, addr := range []string{"10.0.0.1:1", "kafka:1", "[2001:db8::1]:1", "localhost.example.com:1"} {
		require.False(t, loopback([]string{addr}), addr)
	}
}

// Logins and TLS against a server that checks them.
//
//nolint:paralleltest // the wrong login is told about after the right one
func TestOpen_LogsIn(t *testing.T) {
	t.Parallel()
	certificate, caFile := selfSigned(t)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"), kfake.EnableSASL(),
				kfake.Superuser(mechanism, "alice", password), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
			require.NoError(t, err)
			t.Cleanup(fake.Close)
			cfg := pipeline.Broker{
				Name: "main", URL: pipeline.Secret(fake.ListenAddrs()[0]),
				TLS:  pipeline.TLS{Enabled: true, CAFile: caFile},
				SASL: pipeline.SASL{Mechanism: mechanism, User: "alice", Password: password},
			}
			b, err := Open(cfg, options("orders"))
			require.NoError(t, err)
			defer b.Close()
			require.NoError(t, b.Publisher().Publish("orders", message.NewMessage("1", nil)))
			require.Eventually(t, func() bool { return b.Health().OK() }, 10*time.Second, 5*time.Millisecond)
			require.Equal(t, "alice", b.Health().User)

			// kfake says nothing to a wrong password; Kafka does.
			fake.ControlKey(int16(kmsg.SASLAuthenticate), func(request kmsg.Request) (kmsg.Response, error, bool) {
				fake.KeepControl()
				response := request.ResponseKind().(*kmsg.SASLAuthenticateResponse)
				response.ErrorCode = kerr.SaslAuthenticationFailed.Code
				response.ErrorMessage = ptr("Authentication failed")
				return response, nil, true
			})
			cfg.SASL.Password = "wrong"
			wrong, err := Open(cfg, options("orders"))
			require.NoError(t, err)
			defer wrong.Close()
			t.Run("2-17 bad credentials are named", func(t *testing.T) {
				require.Eventually(t, func() bool { return saysError(wrong, "invalid credentials") }, 20*time.Second, 5*time.Millisecond,
					"%v", wrong.Health().Err)
				require.ErrorContains(t, wrong.Health().Err, `user "alice"`)
				require.NotContains(t, wrong.Health().Err.Error(), "wrong")
			})
			t.Run("2-18 a refused login is tried again, as a broker that is away", func(t *testing.T) {
				ctx, cancel := contextFor(time.Second)
				defer cancel()
				err := wrong.Provision(ctx, []pipeline.Topic{{Name: "orders", Provision: pipeline.ProvisionVerify}}, nil)
				require.ErrorContains(t, err, "invalid credentials")
				require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
				require.False(t, pipeline.IsPermanent(err))
			})
		})
	}
	t.Run("without the CA the server is not trusted", func(t *testing.T) {
		t.Parallel()
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
		require.NoError(t, err)
		t.Cleanup(fake.Close)
		b, err := Open(pipeline.Broker{URL: pipeline.Secret(fake.ListenAddrs()[0]), TLS: pipeline.TLS{Enabled: true}}, options("orders"))
		require.NoError(t, err)
		defer b.Close()
		require.Eventually(t, func() bool { return saysError(b, "certificate") }, 20*time.Second, 5*time.Millisecond)
	})
}

// Logins and TLS against a Kafka, with the users' rights as Kafka has them.
func TestOpen_LogsInToKafka(t *testing.T) {
	t.Parallel()
	_, addr, dir := privateNode(t)
	certificate, caFile := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	runNode(t, "start", dir, addr, "KAFKA_SECURE_PORT="+port, "KAFKA_SECURE_PEM="+keyStore(t, certificate), "KAFKA_SECURE_PASSWORD="+password)
	addUser(t, addr, "alice")

	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			topic := pipeline.Topic{Name: "orders-" + mechanism, Provision: pipeline.ProvisionCreate}
			cfg := pipeline.Broker{
				Name: "main", URL: pipeline.Secret("127.0.0.1:" + port),
				TLS:  pipeline.TLS{Enabled: true, CAFile: caFile},
				SASL: pipeline.SASL{Mechanism: mechanism, User: "alice", Password: password},
			}
			open := func(cfg pipeline.Broker) broker.Broker {
				b, err := Open(cfg, options(topic.Name))
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, b.Close()) })
				return b
			}
			b := open(cfg)
			ctx, cancel := contextFor(time.Minute)
			defer cancel()
			require.NoError(t, b.Provision(ctx, []pipeline.Topic{topic}, nil))
			require.NoError(t, b.Publisher().Publish(topic.Name, message.NewMessage("1", nil)))
			require.Eventually(t, func() bool { return b.Health().OK() }, time.Minute, 5*time.Millisecond)

			cfg.SASL.Password = "wrong"
			wrong := open(cfg)
			require.Eventually(t, func() bool { return saysError(wrong, "invalid credentials") }, time.Minute, 5*time.Millisecond,
				"%v", wrong.Health().Err)
			require.ErrorContains(t, wrong.Health().Err, `user "alice"`)
			ctx, cancel = contextFor(5 * time.Second)
			defer cancel()
			err := wrong.Provision(ctx, []pipeline.Topic{topic}, nil)
			require.ErrorContains(t, err, "invalid credentials")
			require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
			require.NotContains(t, err.Error(), "wrong")
		})
	}
}

// addUser makes a user for both kinds of SCRAM.
func addUser(t *testing.T, addr, name string) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	admin, err := sarama.NewClusterAdmin([]string{addr}, config)
	require.NoError(t, err)
	defer admin.Close()
	for _, mechanism := range []sarama.ScramMechanismType{sarama.SCRAM_MECHANISM_SHA_256, sarama.SCRAM_MECHANISM_SHA_512} {
		results, err := admin.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{{
			Name: name, Mechanism: mechanism, Iterations: 4096, Salt: []byte("salt-of-a-test"), Password: []byte(password),
		}})
		require.NoError(t, err)
		require.Equal(t, sarama.ErrNoError, results[0].ErrorCode)
	}
}

// keyStore writes key and certificate as Kafka reads them.
func keyStore(t *testing.T, certificate tls.Certificate) string {
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "server.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})...)
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestHealth_SaysWhoIsAway(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	b, err := Open(pipeline.Broker{URL: pipeline.Secret(addr)}, options("orders"))
	require.NoError(t, err)
	defer b.Close()
	t.Run("2-17 connection refused is named", func(t *testing.T) {
		require.Eventually(t, func() bool { return saysError(b, "connection refused") }, 10*time.Second, 5*time.Millisecond)
		require.ErrorContains(t, b.Health().Err, addr)
	})
	require.False(t, b.Health().OK())
}

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

func saysError(b broker.Broker, text string) bool {
	err := b.Health().Err
	return err != nil && containsFold(err.Error(), text)
}

func options(topics ...string) broker.Options {
	return broker.Options{Instance: "test", Log: quiet(), Topic: func(name string) (pipeline.Topic, bool) {
		for _, topic := range topics {
			if topic == name {
				return pipeline.Topic{Name: name}, true
			}
		}
		return pipeline.Topic{}, false
	}}
}

func selfSigned(t *testing.T) (tls.Certificate, string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kafka"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, file
}
