package scratch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
)

func removeRabbit(ctx context.Context, b pipeline.Broker, n Names) error {
	conn, err := dialRabbit(ctx, b)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range n.queues() {
		_, err := ch.QueueDelete(name, false, false, false)
		errs = append(errs, err)
	}
	// A partitioned subscription has an exchange of its own.
	for _, name := range append(n.Subscriptions, n.Topics...) {
		errs = append(errs, ch.ExchangeDelete(name, false, false))
	}
	return errors.Join(errs...)
}

// queues are those of the subscriptions, and those that topics have which
// nobody reads.
func (n Names) queues() []string {
	queues := append([]string{}, n.Topics...)
	for _, name := range n.Subscriptions {
		queues = append(queues, name)
		for p := range n.Partitions {
			queues = append(queues, fmt.Sprintf("%s.%d", name, p))
		}
	}
	return queues
}

func dialRabbit(ctx context.Context, b pipeline.Broker) (*amqp.Connection, error) {
	config := amqp.Config{Dial: func(network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if deadline, ok := ctx.Deadline(); err == nil && ok {
			err = conn.SetDeadline(deadline)
		}
		return conn, err
	}}
	url := b.URL.Reveal()
	switch {
	case strings.EqualFold(b.SASL.Mechanism, "EXTERNAL"):
		config.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	case b.SASL.User != "" && !strings.Contains(url, "@"):
		config.SASL = []amqp.Authentication{&amqp.PlainAuth{Username: b.SASL.User, Password: b.SASL.Password.Reveal()}}
	}
	if strings.HasPrefix(url, "amqps:") && (b.TLS != pipeline.TLS{Enabled: b.TLS.Enabled}) {
		var err error
		if config.TLSClientConfig, err = tlsConfig(b.TLS); err != nil {
			return nil, err
		}
	}
	return amqp.DialConfig(url, config)
}
