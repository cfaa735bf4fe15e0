package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/embedbroker"
	"github.com/waybill-dev/waybill/pipeline/broker/kafkabroker"
	"github.com/waybill-dev/waybill/pipeline/broker/rabbitbroker"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/engine"
)

// drivers is where a driver's name becomes code.
var drivers = map[string]func(pipeline.Broker, broker.Options) (broker.Broker, error){
	pipeline.DriverEmbedded: embedbroker.Open,
	pipeline.DriverRabbitMQ: rabbitbroker.Open,
	pipeline.DriverKafka:    kafkabroker.Open,
}

// openBrokers opens every broker of the pipeline, or none.
func openBrokers(p pipeline.Pipeline, log *slog.Logger) (map[string]broker.Broker, error) {
	brokers := make(map[string]broker.Broker, len(p.Brokers))
	for name := range p.Brokers {
		b, err := openBroker(p, name, log)
		if err != nil {
			return nil, errors.Join(err, closeBrokers(brokers))
		}
		brokers[name] = b
	}
	return brokers, nil
}

func openBroker(p pipeline.Pipeline, name string, log *slog.Logger) (broker.Broker, error) {
	config := p.Brokers[name]
	b, err := drivers[config.Driver](config, broker.Options{
		Instance: p.Instance,
		Topic:    func(topic string) (pipeline.Topic, bool) { t, ok := p.Topics[topic]; return t, ok },
		Log:      log,
	})
	if err != nil {
		return nil, fmt.Errorf("open broker %s: %w", name, err)
	}
	return b, nil
}

func closeBrokers(brokers map[string]broker.Broker) error {
	var errs []error
	for name, b := range brokers {
		if err := b.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close broker %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// inspectTimeout bounds the look at one broker.
const inspectTimeout = 10 * time.Second

// inspect looks at all brokers at once. What goes wrong is in the reports.
func inspect(ctx context.Context, p pipeline.Pipeline, brokers map[string]broker.Broker) []dashboard.Report {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	reports := make([]dashboard.Report, 0, len(brokers))
	var mu sync.Mutex
	var looking sync.WaitGroup
	for name, b := range brokers {
		looking.Go(func() {
			r := inspectOne(ctx, p, name, b)
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, r)
		})
	}
	looking.Wait()
	slices.SortFunc(reports, func(a, b dashboard.Report) int { return strings.Compare(a.Broker, b.Broker) })
	return reports
}

func inspectOne(ctx context.Context, p pipeline.Pipeline, name string, b broker.Broker) dashboard.Report {
	topics, subs := broker.Holdings(p, name)
	status, err := b.Inspect(ctx, topics, subs)
	health := b.Health()
	r := dashboard.Report{
		Broker: name, Driver: p.Brokers[name].Driver, Address: health.Address, User: health.User,
		Connected: health.Connected, Subscriptions: status, Problems: health.Incidents,
	}
	noteMoves(p, name, status)
	if health.Blocked != "" {
		r.Problems = append(r.Problems, "it refuses publishes: "+health.Blocked)
	}
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
	return r
}

// withWaits notes beside each subscription what of its handler waits in the
// store.
func withWaits(reports []dashboard.Report, state engine.State) []dashboard.Report {
	for _, r := range reports {
		for i := range r.Subscriptions {
			for _, h := range state.Handlers {
				if s := &r.Subscriptions[i]; s.Name == h.Group {
					for _, note := range h.Waits() {
						s.Notes = append(s.Notes, h.Name+": "+note)
					}
				}
			}
		}
	}
	return reports
}

// noteMoves says of the subscriptions on a broker which are only there to be
// drained, or are waited for. The broker's own lines are changed in place.
func noteMoves(p pipeline.Pipeline, name string, status []broker.Status) {
	for i := range status {
		s := &status[i]
		switch t := p.Topics[s.Topic]; {
		case t.Draining == "":
		case t.Draining == name && s.Ready == 0 && nothingInHand(*s):
			s.Notes = append(s.Notes, fmt.Sprintf("topic %s is moving to %s, and nothing of %s is left here", t.Name, t.Broker, s.Name))
		case t.Draining == name:
			s.Notes = append(s.Notes, fmt.Sprintf("topic %s is moving to %s: what is left of %s is read here", t.Name, t.Broker, s.Name))
		default:
			s.Notes = append(s.Notes, fmt.Sprintf("topic %s is moving here from %s, which ordered handlers read first", t.Name, t.Draining))
		}
	}
}

// nothingInHand reports whether it is sure that nobody has taken anything that
// is not acknowledged. Where that is not counted, it is sure while nobody
// reads.
func nothingInHand(s broker.Status) bool {
	return s.InFlight == 0 || s.InFlight < 0 && s.Consumers == 0
}
