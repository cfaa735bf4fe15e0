package scratch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Names are what is removed. Nothing else is touched.
type Names struct {
	Topics        []string
	Subscriptions []string // Kafka's groups; RabbitMQ's queues, with Partitions also NAME.0 and on
	Partitions    int
}

// Remove deletes them from the broker. What is not there is no error. The
// embedded broker keeps all in one file, which is its owner's to delete.
func Remove(ctx context.Context, b pipeline.Broker, n Names) error {
	var err error
	switch b.Driver {
	case pipeline.DriverRabbitMQ:
		err = removeRabbit(ctx, b, n)
	case pipeline.DriverKafka:
		err = removeKafka(b, n)
	}
	if err != nil {
		return fmt.Errorf("remove what was made on broker %s: %w: remove topics %v and subscriptions %v yourself", b.Name, err, n.Topics, n.Subscriptions)
	}
	return nil
}

// RemoveAll deletes all that a pipeline has on its brokers.
func RemoveAll(ctx context.Context, p pipeline.Pipeline) error {
	names := make(map[string]Names)
	for _, t := range p.Topics {
		n := names[t.Broker]
		n.Topics, n.Partitions = append(n.Topics, t.Name), max(n.Partitions, t.Partitions)
		if t.DeadLetter {
			n.Subscriptions = append(n.Subscriptions, broker.ArchiveOf(p, t).Name)
		}
		names[t.Broker] = n
	}
	for _, h := range p.Handlers {
		sub := broker.SubscriptionOf(p, h)
		n := names[sub.Topic.Broker]
		n.Subscriptions = append(n.Subscriptions, sub.Name)
		names[sub.Topic.Broker] = n
	}
	var errs []error
	for name, n := range names {
		errs = append(errs, Remove(ctx, p.Brokers[name], n))
	}
	return errors.Join(errs...)
}

// tlsConfig is what the broker's `tls:` says.
func tlsConfig(c pipeline.TLS) (*tls.Config, error) {
	t := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: c.ServerName,
		InsecureSkipVerify: c.SkipVerify, //nolint:gosec // only for tests, by the user's word
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca_file holds no certificate")
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read cert_file and key_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
