package kafkabroker

import (
	"context"
	"net"
	"sync"

	"github.com/IBM/sarama"
)

// link is a sarama client whose connections can be cut. sarama's calls know
// no context: a request to a broker that has stopped answering returns after
// its read timeout. Closing the connections under it makes it return at once.
type link struct {
	sarama.Client
	cut  context.CancelFunc // closes its connections
	free func() bool        // has the Broker forget it
	once sync.Once
}

// newLink returns a client with the broker's config and what set adds to it.
// It does not touch the network. When ctx is done, or the Broker closed, all
// that the client does ends with an error.
func (b *Broker) newLink(ctx context.Context, set ...func(*sarama.Config)) (*link, error) {
	config := *b.config
	for _, s := range set {
		s(&config)
	}
	ctx, cut := context.WithCancel(ctx)
	free := context.AfterFunc(b.life, cut)
	config.Net.Proxy.Enable = true
	config.Net.Proxy.Dialer = &dialer{ctx: ctx, dial: net.Dialer{Timeout: dialTimeout}}
	client, err := sarama.NewClient(b.addrs, &config)
	if err != nil {
		free()
		cut()
		return nil, err
	}
	return &link{Client: client, cut: cut, free: free}, nil
}

// close cuts the connections and closes the client. It may be called by many
// at once; all return when it is closed.
func (l *link) close() {
	l.once.Do(func() {
		l.free()
		l.cut()
		_ = l.Client.Close()
	})
}

// dialer ties connections to a context: sarama's only way in for one.
type dialer struct {
	ctx  context.Context //nolint:containedctx // sarama's Dial has none
	dial net.Dialer
}

// Dial connects, and closes the connection when the context is done.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.dial.DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(d.ctx, func() { _ = conn.Close() })
	return conn, nil
}
