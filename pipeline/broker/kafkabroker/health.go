package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	watchEvery   = 2 * time.Second
	maxIncidents = 100 // the latest are kept
)

// health is what Health returns.
type health struct {
	mu    sync.Mutex
	state broker.Health
}

func newHealth(address, user string) *health {
	return &health{state: broker.Health{Address: address, User: user, Since: time.Now(), Err: errors.New("not connected yet")}}
}

func (h *health) get() broker.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	state := h.state
	state.Incidents = slices.Clone(state.Incidents)
	return state
}

// set records whether the cluster answers, and reports whether that is news.
func (h *health) set(err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.state.Connected
	if err != nil {
		err = h.name(err)
	}
	h.state.Connected, h.state.Err = err == nil, err
	if was == h.state.Connected {
		return false
	}
	h.state.Since = time.Now()
	return true
}

// name adds to an error who was spoken to.
func (h *health) name(err error) error {
	if h.state.User != "" {
		return fmt.Errorf("kafka at %s as user %q: %w", h.state.Address, h.state.User, reachable(err))
	}
	return fmt.Errorf("kafka at %s: %w", h.state.Address, reachable(err))
}

// incident records what a person must know.
func (h *health) incident(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state.Incidents = append(h.state.Incidents, time.Now().UTC().Format(time.RFC3339)+" "+what)
	if extra := len(h.state.Incidents) - maxIncidents; extra > 0 {
		h.state.Incidents = slices.Delete(h.state.Incidents, 0, extra)
	}
}

// watch asks the cluster for a sign of life, for as long as the Broker lives.
func (b *Broker) watch() {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, time.Second
	for first := true; b.life.Err() == nil; first = false {
		err := b.ping()
		if b.life.Err() != nil {
			return
		}
		if changed := b.health.set(err); changed || first {
			b.logHealth(err)
		}
		next := watchEvery
		if err != nil {
			next = pause.NextBackOff()
		} else {
			pause.Reset()
		}
		sleep(b.life, next)
	}
}

func (b *Broker) logHealth(err error) {
	if err != nil {
		b.log.Error("broker is away; trying on", "error", b.health.get().Err)
		return
	}
	b.log.Info("broker is connected", "address", b.health.get().Address)
}

// ping makes any broker of the cluster answer. A complaint about the topic is
// an answer too.
func (b *Broker) ping() error {
	err := b.control.RefreshMetadata("__consumer_offsets")
	var answer sarama.KError
	if errors.As(err, &answer) && !errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
		return nil
	}
	return err
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
