package trial

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/cmd/bench/place"
)

// meter watches an output grow.
type meter struct {
	site    place.Site
	broker  int // its process; 0: none
	clients clients
	stall   time.Duration
}

// reading is what there was at one moment.
type reading struct {
	at             time.Time
	depth          int
	client, broker time.Duration // CPU
}

// measure watches the output from 1 % to n.
func (m meter) measure(ctx context.Context, n int) (Drained, error) {
	from, err := m.await(ctx, max(1, n/100))
	if err != nil {
		return Drained{}, err
	}
	to, err := m.await(ctx, n)
	if err != nil {
		return Drained{}, err
	}
	messages, took := float64(to.depth-from.depth), to.at.Sub(from.at)
	if messages <= 0 || took <= 0 {
		return Drained{}, fmt.Errorf("%d messages are too few: all came between two looks: take more (-n)", n)
	}
	perThousand := func(t time.Duration) float64 { return float64(t.Microseconds()) / messages }
	return Drained{
		Rate:      messages / took.Seconds(),
		ClientCPU: perThousand(to.client - from.client),
		BrokerCPU: perThousand(to.broker - from.broker),
		Took:      took,
	}, nil
}

// await looks until the output has at least depth messages.
func (m meter) await(ctx context.Context, depth int) (reading, error) {
	looks := time.NewTicker(poll)
	defer looks.Stop()
	last, since := -1, time.Now()
	for {
		if err := m.clients.alive(); err != nil {
			return reading{}, err
		}
		n, err := m.site.Depth(ctx)
		if err != nil {
			return reading{}, err
		}
		if n >= depth {
			return m.read(n)
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > m.stall {
			return reading{}, fmt.Errorf("the output stands still at %d, %d are wanted: messages are lost or stuck: %s", n, depth, m.clients.tail())
		}
		select {
		case <-ctx.Done():
			return reading{}, context.Cause(ctx)
		case <-looks.C:
		}
	}
}

func (m meter) read(depth int) (r reading, err error) {
	r = reading{at: time.Now(), depth: depth}
	if r.client, err = m.clients.usage(); err != nil || m.broker == 0 {
		return r, err
	}
	r.broker, err = cpu(m.broker)
	return r, err
}
