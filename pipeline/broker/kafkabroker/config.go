package kafkabroker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"

	"github.com/waybill-dev/waybill/pipeline"
)

// Times of the group protocol and of connections.
const (
	sessionTimeout    = 10 * time.Second // after which a silent member's partitions go to others
	heartbeatInterval = 2 * time.Second
	rebalanceTimeout  = 60 * time.Second // how long a rebalance waits for a member
	revokeGrace       = 30 * time.Second // of that, what handlers get to finish
	dialTimeout       = 5 * time.Second
	answerTimeout     = 10 * time.Second // for requests that no broker answers late
	fetchWait         = 100 * time.Millisecond
	fetchBytes        = 256 << 10 // of a partition in one answer, unless a batch is larger
)

// Sizes of batches: below what a broker takes unless set otherwise (1 MiB and
// a few bytes, for a whole batch), and what sarama, and a broker unless set
// otherwise, takes of a whole request.
const (
	batchLimit  = 1_000_000
	requestMost = 100 << 20
)

// sarama counts its traffic with go-metrics, whose meters keep a goroutine for
// ever. Nobody reads them: they are made inert before the first client.
func init() { metrics.UseNilMetrics = true } //nolint:gochecknoinits // must come before any client

// addresses returns the brokers' addresses in a URL such as
// "host:port,host:port".
func addresses(url pipeline.Secret) ([]string, error) {
	var addrs []string
	for addr := range strings.SplitSeq(strings.TrimPrefix(url.Reveal(), "kafka://"), ",") {
		addr = strings.TrimSpace(addr)
		if addr == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" || strings.ContainsAny(addr, "@/") {
			return nil, errors.New("url: want host:port,host:port without a scheme; user and password belong under sasl")
		}
		addrs = append(addrs, addr)
	}
	if len(addrs) == 0 {
		return nil, errors.New("url: names no broker; want host:port,host:port")
	}
	return addrs, nil
}

// newConfig returns what all clients of the broker share.
func newConfig(cfg pipeline.Broker, addrs []string) (*sarama.Config, error) {
	c := sarama.NewConfig()
	c.ClientID = "waybill"
	// The newest protocol that we speak. Versions of single requests are
	// negotiated down to what the broker has.
	c.Version = sarama.V3_6_0_0
	c.MetricRegistry = metrics.NewRegistry()
	c.ChannelBufferSize = 256

	c.Net.DialTimeout = dialTimeout
	c.Net.ReadTimeout = answerTimeout
	c.Net.WriteTimeout = answerTimeout
	c.Admin.Timeout = answerTimeout
	c.Admin.Retry.Max = 0 // retries are ours, with backoff and a context

	c.Metadata.Full = false // only of topics that we use
	c.Metadata.AllowAutoTopicCreation = false
	c.Metadata.RefreshFrequency = time.Minute
	c.Metadata.Retry.Max = 3
	c.Metadata.Retry.BackoffFunc = jittered(100*time.Millisecond, time.Second)

	if err := secure(c, cfg, addrs); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// jittered is sarama's shape of a backoff: doubled from first to longest,
// with half of it left to chance.
func jittered(first, longest time.Duration) func(retries, maxRetries int) time.Duration {
	return func(retries, _ int) time.Duration {
		pause := min(first<<min(max(retries, 0), 16), longest)
		return pause/2 + rand.N(pause/2+1) //nolint:gosec // jitter
	}
}

// forProducer adds what a stream needs, which tries by itself.
func forProducer(c *sarama.Config) { c.Metadata.Retry.Max = 0 }

// forGroup adds what a subscription's group member needs.
func forGroup(instance string) func(*sarama.Config) {
	return func(c *sarama.Config) {
		g := &c.Consumer.Group
		g.InstanceId = instance
		g.Session.Timeout = sessionTimeout
		g.Heartbeat.Interval = heartbeatInterval
		g.Rebalance.Timeout = rebalanceTimeout
		g.Rebalance.Retry.Backoff = 200 * time.Millisecond
		g.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
		// To the oldest message, never the newest; the size of the gap is an
		// incident (see partition.begin).
		g.ResetInvalidOffsets = true
		c.Consumer.Offsets.Initial = sarama.OffsetOldest
		c.Consumer.Offsets.AutoCommit.Enable = false // commits are ours: see committer
		c.Consumer.Return.Errors = true
		forFetch(c)
	}
}

// forJoin adds that the answer to a join waits for all members.
func forJoin(c *sarama.Config) { c.Net.ReadTimeout = rebalanceTimeout + answerTimeout }

// forFetch adds what reading partitions needs.
func forFetch(c *sarama.Config) {
	c.Consumer.MaxWaitTime = fetchWait
	c.Consumer.Retry.BackoffFunc = func(retries int) time.Duration {
		return jittered(100*time.Millisecond, time.Second)(retries, 0)
	}
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	// An answer stays in memory while one of its messages is in hand: with
	// sarama's 1 MiB a partition that was most of the memory. What is larger is
	// still fetched.
	c.Consumer.Fetch.Default = fetchBytes
}

// secure sets TLS and SASL up.
func secure(c *sarama.Config, cfg pipeline.Broker, addrs []string) error {
	if cfg.TLS.Enabled {
		t, err := tlsConfig(cfg.TLS)
		if err != nil {
			return err
		}
		c.Net.TLS.Enable, c.Net.TLS.Config = true, t
	}
	if cfg.SASL.Mechanism == "" {
		return nil
	}
	if cfg.SASL.User == "" || cfg.SASL.Password == "" {
		return fmt.Errorf("sasl: mechanism %s needs user and password", cfg.SASL.Mechanism)
	}
	c.Net.SASL.Enable = true
	c.Net.SASL.User, c.Net.SASL.Password = cfg.SASL.User, cfg.SASL.Password.Reveal()
	c.Net.SASL.Mechanism = sarama.SASLMechanism(cfg.SASL.Mechanism)
	switch c.Net.SASL.Mechanism {
	case sarama.SASLTypePlaintext:
		if !cfg.TLS.Enabled && !loopback(addrs) {
			return errors.New("sasl: PLAIN without TLS sends the password in clear text: " +
				"enable tls, or use SCRAM-SHA-512")
		}
	case sarama.SASLTypeSCRAMSHA256:
		c.Net.SASL.SCRAMClientGeneratorFunc = newSCRAMSHA256
	case sarama.SASLTypeSCRAMSHA512:
		c.Net.SASL.SCRAMClientGeneratorFunc = newSCRAMSHA512
	default:
		return fmt.Errorf("sasl: mechanism %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", cfg.SASL.Mechanism)
	}
	return nil
}

func loopback(addrs []string) bool {
	for _, addr := range addrs {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return false
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

func tlsConfig(cfg pipeline.TLS) (*tls.Config, error) {
	t := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         cfg.ServerName,
		InsecureSkipVerify: cfg.SkipVerify, //nolint:gosec // only for tests, by the user's word
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls: ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: ca_file: %s holds no PEM certificate", cfg.CAFile)
		}
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls: cert_file and key_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
