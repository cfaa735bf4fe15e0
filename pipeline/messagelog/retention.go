package messagelog

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const (
	trimEvery = time.Minute
	trimChunk = 500 // rows of one delete: a large one holds up whatever writes
)

// trimmer deletes what the retention says.
type trimmer struct {
	log     store.Log
	rules   []trimRule
	trouble func(error)
	trimmed *prometheus.CounterVec // by state
}

// trimRule bounds one state.
type trimRule struct {
	state store.State
	age   time.Duration // 0: no bound
	bytes int64         // 0: no bound
}

func rulesOf(c pipeline.MessageLog) []trimRule {
	rule := func(state store.State, r pipeline.Retention) trimRule {
		return trimRule{state, max(r.Age, 0), max(r.Bytes, 0)} // negative: for ever
	}
	return []trimRule{
		rule(store.Completed, c.Retention), rule(store.Retrying, c.Failures), rule(store.Dead, c.Failures),
	}
}

// run trims now and every minute, until ctx ends.
func (t trimmer) run(ctx context.Context) {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		for _, rule := range t.rules {
			if err := t.trim(ctx, rule); err != nil && ctx.Err() == nil && t.trouble != nil {
				t.trouble(err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// trim deletes all that one rule says, in chunks.
func (t trimmer) trim(ctx context.Context, r trimRule) error {
	rule := store.LogRule{State: r.state, Bytes: r.bytes, Limit: trimChunk}
	if r.age > 0 {
		rule.Before = time.Now().Add(-r.age)
	}
	for ctx.Err() == nil && (r.age > 0 || r.bytes > 0) {
		gone, err := t.log.TrimLog(ctx, rule)
		t.trimmed.WithLabelValues(string(r.state)).Add(float64(gone))
		if err != nil || gone == 0 {
			return err
		}
	}
	return ctx.Err()
}
