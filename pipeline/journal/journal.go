package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// MaxCrashes is how often a process may die of a message: once beside others,
// and then alone.
const MaxCrashes = 3

// forget is how old a suspect gets whose message does not come again: it came
// to an end elsewhere. Those of a process that keeps dying are never that old.
const forget = 24 * time.Hour

// tidyEvery is how often the journal looks which of the suspects that it knows
// came to an end elsewhere: while it knows any, each message costs a lock.
const tidyEvery = 5 * time.Minute

// Options of Open.
type Options struct {
	File  string // the file of slots; its folder is there
	Slots int    // runs at a time, of all handlers together
	Store store.Store
	Log   *slog.Logger
}

// Journal is the attempt journal of a process. It is for any number of
// goroutines.
type Journal struct {
	store store.Store
	log   *slog.Logger
	life  string
	file  *file
	slots *slots
	gate  *gate
	// sure: the file tells all that ran when processes of this store died, so
	// that a message which is handed out again and is not in it did not run.
	sure bool

	suspects known
	hanging  known           // suspects that did not end while they were alone
	inHand   atomic.Int64    // suspects that are being handled
	over     context.Context // ends with the journal
	end      context.CancelFunc
	keeping  sync.WaitGroup
	begun    atomic.Bool // a suspect has run in this life
	lacking  sync.Once
	closing  sync.Once
}

// Open takes the file over from the process before, whose running messages
// become suspects of the store, and begins a new one. It fails if another
// process has the file, or the store cannot be asked.
func Open(ctx context.Context, opts Options) (*Journal, error) {
	j := &Journal{store: opts.Store, log: opts.Log, life: newLife(), gate: newGate()}
	j.over, j.end = context.WithCancel(context.Background())
	f, before, err := openFile(opts.File)
	if err != nil {
		return nil, fmt.Errorf("open attempt journal: %w", err)
	}
	j.file = f
	if err := j.recover(ctx, before); err != nil {
		return nil, errors.Join(fmt.Errorf("open attempt journal: %w", err), f.close(false))
	}
	// Several may share a store that is no file: what those had in hand that
	// died is in their own journals.
	j.sure = before.known && j.store.Home() != ""
	// Twice as many, so that a free one is found soon.
	number := max(2*opts.Slots, 1)
	if j.slots, err = f.begin(j.life, number); err != nil {
		j.log.Warn("the attempt journal is kept in memory only: a message that kills the process is recognised when its broker "+
			"says that it was handed out before", "file", opts.File, "error", err)
		j.slots = newSlots(make([]byte, number*slotSize))
	}
	j.keeping.Go(func() { j.slots.tick(j.over) })
	j.keeping.Go(func() { j.tidy(j.over) })
	return j, nil
}

// recover makes suspects of what ran when the process before died, and learns
// which ones there are.
func (j *Journal) recover(ctx context.Context, before left) error {
	if before.life != "" {
		ran := make([]store.Suspect, len(before.runs))
		for i, r := range before.runs {
			ran[i] = store.Suspect{SuspectKey: store.SuspectKey{Handler: r.handler, Message: r.id}, Topic: r.topic}
			j.log.Warn("the process died while this message was handled: it runs alone now",
				"handler", r.handler, "topic", r.topic, "message_id", r.id, "since", r.since, "was_alone", r.alone)
		}
		if err := j.store.EndLife(ctx, before.life, ran); err != nil {
			return err
		}
	}
	old := time.Now().Add(-forget)
	if _, err := j.store.ExpireSuspects(ctx, old); err != nil {
		return err
	}
	suspects, err := j.store.Suspects(ctx, old)
	if err != nil {
		return err
	}
	for _, s := range suspects {
		j.suspects.add(s.SuspectKey)
	}
	return nil
}

// tidy forgets suspects that came to an end elsewhere, until ctx is done.
func (j *Journal) tidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := j.tidyOnce(ctx); err != nil && ctx.Err() == nil {
				j.log.Warn("cannot look up which suspects came to an end elsewhere", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (j *Journal) tidyOnce(ctx context.Context) error {
	if j.suspects.size.Load() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	before := j.suspects.latest()
	there, err := j.store.Suspects(ctx, time.Now().Add(-forget))
	if err != nil || len(there) >= store.MaxPage { // that may not be all
		return err
	}
	j.suspects.keep(there, before)
	return nil
}

// Close ends the journal after a stop in order: nothing that still runs counts
// as a crash. Only the first call does anything.
func (j *Journal) Close(ctx context.Context) (err error) {
	j.closing.Do(func() { err = j.close(ctx) })
	return err
}

func (j *Journal) close(ctx context.Context) error {
	j.end()
	j.keeping.Wait()
	j.slots.clear()
	var err error
	if j.begun.Load() {
		if err = j.store.EndLife(ctx, j.life, nil); err != nil {
			err = fmt.Errorf("close attempt journal: %w", err)
		}
	}
	return errors.Join(err, j.file.close(j.gate.busy()))
}

// Suspects returns how many suspects the store has.
func (j *Journal) Suspects(ctx context.Context) (int, error) {
	all, err := j.store.Suspects(ctx, time.Now().Add(-forget))
	return len(all), err
}

// Hanging lists the suspects that ran alone and did not end, and have others
// run beside them now.
func (j *Journal) Hanging() []store.SuspectKey { return j.hanging.all() }

// lack tells once that there was no slot.
func (j *Journal) lack() {
	j.lacking.Do(func() {
		j.log.Error("the attempt journal has too few slots: some messages run without one. This is a fault of Waybill, please report it")
	})
}

// known is a set of suspects. To find it empty costs little.
type known struct {
	size atomic.Int64
	mu   sync.Mutex
	keys map[store.SuspectKey]uint64 // each with the number of its latest add
	adds uint64
}

func (k *known) add(key store.SuspectKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		k.keys = make(map[store.SuspectKey]uint64)
	}
	k.adds++
	k.keys[key] = k.adds
	k.size.Store(int64(len(k.keys)))
}

// latest is the number of the latest add.
func (k *known) latest() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.adds
}

// keep removes all but these and those that were added since that number.
func (k *known) keep(these []store.Suspect, since uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	stay := make(map[store.SuspectKey]bool, len(these))
	for _, s := range these {
		stay[s.SuspectKey] = true
	}
	maps.DeleteFunc(k.keys, func(key store.SuspectKey, added uint64) bool { return added <= since && !stay[key] })
	k.size.Store(int64(len(k.keys)))
}

func (k *known) remove(key store.SuspectKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.keys, key)
	k.size.Store(int64(len(k.keys)))
}

func (k *known) has(key store.SuspectKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.keys[key]
	return ok
}

func (k *known) all() []store.SuspectKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.keys))
}
