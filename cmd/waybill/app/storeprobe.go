package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const (
	storeEvery    = 3 * time.Second  // between two questions
	storePatience = 10 * time.Second // for an answer
)

// storeProbe asks the store whether it can be used, so that /ready says so
// before a message needs it.
type storeProbe struct {
	store   store.Store // nil: nobody needs to ask
	log     *slog.Logger
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex
	why string // the store cannot be used; "": it can
}

// newStoreProbe is for a store beside these brokers. Of one in a broker's own
// file the broker tells.
func newStoreProbe(s store.Store, brokers map[string]broker.Broker, log *slog.Logger) *storeProbe {
	for _, b := range brokers {
		if c, ok := b.(broker.Committer); ok && c.Home() == s.Home() {
			s = nil
			break
		}
	}
	p := &storeProbe{store: s, log: log}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

func (p *storeProbe) start() {
	if p.store != nil {
		p.running.Go(p.run)
	}
}

func (p *storeProbe) run() {
	again := time.NewTicker(storeEvery)
	defer again.Stop()
	for {
		p.ask()
		select {
		case <-again.C:
		case <-p.life.Done():
			return
		}
	}
}

func (p *storeProbe) ask() {
	ctx, cancel := context.WithTimeout(p.life, storePatience)
	defer cancel()
	why := ""
	err := p.store.Ping(ctx)
	if p.life.Err() != nil {
		return
	}
	if err != nil {
		why = err.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case why != "" && p.why == "":
		p.log.Error("the store cannot be used, it is asked again", "error", err)
	case why == "" && p.why != "":
		p.log.Info("the store can be used again")
	}
	p.why = why
}

// problems are those for /ready.
func (p *storeProbe) problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == "" {
		return nil
	}
	return []string{p.why}
}

func (p *storeProbe) stop(context.Context) error {
	p.end()
	p.running.Wait()
	return nil
}
