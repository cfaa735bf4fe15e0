package replay

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// metrics are the numbers of dead letters.
type metrics struct {
	store    store.DeadLetters
	registry prometheus.Registerer
	archived *prometheus.CounterVec
}

func newMetrics(s store.DeadLetters, registry prometheus.Registerer) *metrics {
	m := &metrics{
		store: s, registry: registry,
		archived: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_dead_letters_archived_total", Help: "Dead letters that the archiver took into the store.",
		}, []string{"topic"}),
	}
	registry.MustRegister(m, m.archived)
	return m
}

func (m *metrics) unregister() {
	m.registry.Unregister(m)
	m.registry.Unregister(m.archived)
}

var lettersDesc = prometheus.NewDesc("waybill_dead_letters", "Dead letters in the store.", []string{"handler", "state"}, nil)

// countTimeout keeps a scrape from waiting for a store that is away.
const countTimeout = 2 * time.Second

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { ch <- lettersDesc }

// Collect implements prometheus.Collector. While the store is away there is no
// number.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeout)
	defer cancel()
	counts, err := m.store.LetterCounts(ctx)
	if err != nil {
		return
	}
	for handler, states := range counts {
		for state, n := range states {
			ch <- prometheus.MustNewConstMetric(lettersDesc, prometheus.GaugeValue, float64(n), handler, string(state))
		}
	}
}
