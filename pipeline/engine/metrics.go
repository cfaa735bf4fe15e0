package engine

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
)

// metrics are the engine's numbers (row 2-20; survey §4.7). Labels are names
// from the config and closed sets, never ids or keys.
type metrics struct {
	registry  prometheus.Registerer
	mine      []prometheus.Collector
	received  *prometheus.CounterVec
	processed *prometheus.CounterVec
	published *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	retries   *prometheus.CounterVec
	dead      *prometheus.CounterVec
}

// Buckets of durations, in seconds, as OpenTelemetry has them.
var buckets = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}

func newMetrics(e *Engine, registry prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waybill_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry:  registry,
		received:  counter("messages_received_total", "Messages that a handler began to handle.", "handler", "topic"),
		processed: counter("messages_processed_total", "Messages that a handler was done with, by outcome.", "handler", "outcome"),
		published: counter("messages_published_total", "Messages that a handler published and the broker confirmed.", "handler"),
		retries:   counter("retries_total", "Further runs after a failure.", "handler", "kind"),
		dead:      counter("dead_letters_total", "Messages that a handler gave up on, by reason.", "handler", "reason"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "waybill_process_duration_seconds", Help: "From the first run of a message to its outcome.", Buckets: buckets,
		}, []string{"handler"}),
	}
	m.mine = []prometheus.Collector{m.received, m.processed, m.published, m.retries, m.dead, m.duration, newGauges(e)}
	if registry != nil {
		for _, c := range m.mine {
			registry.MustRegister(c)
		}
	}
	return m
}

func (m *metrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, c := range m.mine {
		m.registry.Unregister(c)
	}
}

// record counts what becomes of a route's messages. The label values are
// looked up once.
func (m *metrics) record(r *route) middleware.Record {
	name := r.handler.Name
	received := m.received.WithLabelValues(name, r.handler.From)
	ok := m.processed.WithLabelValues(name, string(pipeline.ResultOK))
	delayed := m.processed.WithLabelValues(name, string(pipeline.ResultDelayed))
	dead := m.processed.WithLabelValues(name, string(pipeline.ResultDead))
	void := m.processed.WithLabelValues(name, string(pipeline.ResultVoid))
	published := m.published.WithLabelValues(name)
	duration := m.duration.WithLabelValues(name)
	return middleware.Record{
		Begin: received.Inc,
		Done: func(o *pipeline.Outcome, took time.Duration) {
			switch o.Result {
			case pipeline.ResultOK:
				ok.Inc()
				published.Add(float64(len(o.Outputs)))
			case pipeline.ResultDelayed:
				delayed.Inc()
			case pipeline.ResultVoid:
				void.Inc()
			case pipeline.ResultDead:
				dead.Inc()
				m.dead.WithLabelValues(name, string(o.Reason)).Inc()
			case pipeline.ResultStopped:
				return
			}
			duration.Observe(took.Seconds())
		},
	}
}

func (m *metrics) retried(r *route) func() {
	return m.retries.WithLabelValues(r.handler.Name, "immediate").Inc
}

// delayed counts runs from the store.
func (m *metrics) delayed(r *route) func() {
	return m.retries.WithLabelValues(r.handler.Name, "delayed").Inc
}
