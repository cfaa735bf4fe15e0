package engine

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// How old the backlog that a scrape shows may be, and how long a scrape waits
// for a broker to count it.
const (
	backlogAge     = 5 * time.Second
	backlogTimeout = 2 * time.Second
)

// gauges reads the present state when it is scraped.
type gauges struct {
	engine *Engine

	mu      sync.Mutex
	counted time.Time
	backlog []backlog
}

// backlog is what waits on one broker.
type backlog struct {
	broker string
	status []broker.Status
}

func newGauges(e *Engine) *gauges { return &gauges{engine: e} }

var (
	connectedDesc = prometheus.NewDesc("waybill_broker_connected", "1 while the broker is connected and takes publishes.", []string{"broker"}, nil)
	inFlightDesc  = prometheus.NewDesc("waybill_in_flight_messages", "Messages taken and not yet settled.", []string{"handler"}, nil)
	heldDesc      = prometheus.NewDesc("waybill_handler_held", "1 while the handler's intake is closed.", []string{"handler"}, nil)
	delayedDesc   = prometheus.NewDesc("waybill_delayed_messages", "Messages that wait in the store: for their time, behind another of their key, or parked.", []string{"handler"}, nil)
	backlogDesc   = prometheus.NewDesc("waybill_backlog_messages", "Messages that wait at the broker.", []string{"broker", "topic", "group"}, nil)
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- connectedDesc
	ch <- inFlightDesc
	ch <- heldDesc
	ch <- delayedDesc
	ch <- backlogDesc
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	state := g.engine.State()
	for _, b := range state.Brokers {
		gauge(connectedDesc, truth(b.Health.OK()), b.Name)
	}
	for _, h := range state.Handlers {
		gauge(inFlightDesc, float64(h.InFlight), h.Name)
		gauge(heldDesc, truth(len(h.Held) > 0), h.Name)
		if h.Counted {
			gauge(delayedDesc, float64(h.Delayed.Waiting+h.Delayed.Parked), h.Name)
		}
	}
	for _, b := range g.waiting(state) {
		for _, s := range b.status {
			if s.Ready >= 0 {
				gauge(backlogDesc, float64(s.Ready), b.broker, s.Topic, s.Name)
			}
		}
	}
}

// waiting asks the brokers that are there what waits, but not at every
// scrape.
func (g *gauges) waiting(state State) []backlog {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.counted) < backlogAge {
		return g.backlog
	}
	ctx, cancel := context.WithTimeout(g.engine.life, backlogTimeout)
	defer cancel()
	g.backlog = nil
	for _, b := range state.Brokers {
		if !b.Provisioned || !b.Health.Connected {
			continue
		}
		topics, subs := broker.Holdings(g.engine.opts.Pipeline, b.Name)
		status, err := g.engine.opts.Brokers[b.Name].Inspect(ctx, topics, subs)
		if err != nil {
			g.engine.log.Debug("count the backlog", "broker", b.Name, "error", err)
			continue
		}
		g.backlog = append(g.backlog, backlog{b.Name, status})
	}
	g.counted = time.Now()
	return g.backlog
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
