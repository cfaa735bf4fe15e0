package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// maxSubject is the longest subject that is stored as it is, in bytes; of a
// longer one its hash is. A database refuses a key without bound.
const maxSubject = 256

// How often a message asks whether another instance is done with its effect.
const (
	busyInitial = 50 * time.Millisecond
	busyMax     = time.Second
)

// giveBackTimeout bounds how long a stop waits for the store.
const giveBackTimeout = time.Second

// Receipts keeps an effect from happening twice (design §4): it is reserved in
// the store before the kind runs, and the receipt is written in the transaction
// of the outcome, with the outputs. What has a receipt is not done again; its
// outputs are published again, as they were. A message that failed leaves no
// receipt, so that its next attempt or a replay runs.
type Receipts struct {
	Once   pipeline.Once
	Effect string // the handler
	Owner  string // this instance; no two that run have the same
	Lease  time.Duration
	Store  interface {
		store.Receipts
		Do(ctx context.Context, writes ...pipeline.Write) error
	}
	InHand *InHand // shared by all handlers of the process
	Holder Holder
	Log    *slog.Logger
}

// Middleware wraps h.
func (r Receipts) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		subject := r.Once.Subject(msg)
		if subject == "" {
			return h(msg)
		}
		key := store.ReceiptKey{Subject: short(subject), Effect: r.Effect}
		letGo, err := r.InHand.take(msg, key)
		if err != nil {
			return nil, err
		}
		outcome := pipeline.OutcomeOf(msg.Context())
		outcome.Finally(letGo)
		hash := sum(msg.Payload)
		was, err := r.reserve(msg, key, hash)
		if err != nil {
			return nil, err
		}
		if was.State == store.Done {
			r.Log.InfoContext(msg.Context(), "the effect was done before, and is not done again", "since", was.Since, "answer", was.Outcome)
			outcome.Before = true
			return again(was.Outputs), nil
		}
		e := &effect{Receipts: r, key: key, hash: hash, outcome: outcome}
		outcome.Settling(e.write)
		outcome.Finally(func() { e.giveBack(msg) })
		if was.State == store.Reserved && r.Once.Doubt != nil {
			if err := r.Once.Doubt(msg); err != nil {
				return nil, err
			}
		}
		return e.run(msg, h)
	}
}

// reserve returns the receipt as it was before, Busy excepted, which it waits
// out. While the store is away the message is held.
func (r Receipts) reserve(msg *message.Message, key store.ReceiptKey, hash string) (was store.Receipt, err error) {
	want := store.Reservation{
		ReceiptKey: key, Hash: hash, Owner: r.Owner, Lease: r.Lease,
		Edited: msg.Metadata.Get(pipeline.MetaEditOf) != "",
	}
	pauses := Retry{Initial: busyInitial}.pauses()
	pauses.MaxInterval = busyMax
	for {
		err = r.Holder.Until(msg, "reserve the receipt", func(ctx context.Context) (err error) {
			was, err = r.Store.Reserve(ctx, want)
			return err
		})
		switch {
		case errors.Is(err, store.ErrConflict):
			return was, fmt.Errorf("%w: the same id was used before with another payload; "+
				"if both are meant, send this one under an id of its own", err)
		case err != nil || was.State != store.Busy:
			return was, err
		}
		if stop := wait(msg, pauses.NextBackOff()); stop != nil {
			return was, stop
		}
	}
}

// effect is one that is reserved, with one message.
type effect struct {
	Receipts
	key      store.ReceiptKey
	hash     string
	outcome  *pipeline.Outcome
	produced []*message.Message
	done     *store.Receipt // of success; its outputs as they are handed over to be published
	cut      bool           // it was cut short: nobody knows whether it happened
}

func (e *effect) run(msg *message.Message, h message.HandlerFunc) ([]*message.Message, error) {
	produced, err := h(msg)
	e.produced = produced
	e.cut = err != nil && msg.Context().Err() != nil
	return produced, err
}

// write is the change of the store that belongs to the outcome.
func (e *effect) write(result pipeline.Result) pipeline.Write {
	if result != pipeline.ResultOK {
		return e.Store.FreeReceipt(e.key, e.Owner)
	}
	e.done = &store.Receipt{
		ReceiptKey: e.key, Hash: e.hash, Owner: e.Owner, Outcome: e.outcome.Answer, Outputs: kept(e.produced),
	}
	return e.Store.FinishReceipt(*e.done)
}

// giveBack records how far a message got that leaves without an outcome: where
// Waybill stops, or another instance has it, which is no crash after which
// nobody knows; and where it is handled anew, and so is its effect.
func (e *effect) giveBack(msg *message.Message) {
	result := e.outcome.Result
	if e.cut || result == pipeline.ResultOK || result == pipeline.ResultDead || result == pipeline.ResultDelayed {
		return
	}
	write := e.Store.FreeReceipt(e.key, e.Owner)
	if e.done != nil && result != "" {
		write = e.Store.FinishReceipt(*e.done) // whoever published has made the outputs their own
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(msg.Context()), giveBackTimeout)
	defer cancel()
	if err := e.Store.Do(ctx, write); err != nil {
		e.Log.WarnContext(ctx, "the receipt is left open, as after a crash: "+err.Error())
	}
}

// kept is what a receipt keeps of outputs.
func kept(produced []*message.Message) []store.Output {
	outputs := make([]store.Output, len(produced))
	for i, msg := range produced {
		outputs[i] = store.Output{
			Name: pipeline.OutputOf(msg), ID: msg.UUID,
			Content: store.Content{Headers: maps.Clone(msg.Metadata), Payload: msg.Payload},
		}
	}
	return outputs
}

// again makes messages of what a receipt has kept.
func again(outputs []store.Output) []*message.Message {
	produced := make([]*message.Message, len(outputs))
	for i, o := range outputs {
		produced[i] = pipeline.NewMessage(o.ID, o.Payload, maps.Clone(o.Headers))
		pipeline.SetOutput(produced[i], o.Name)
	}
	return produced
}

// short is a subject that a database takes as a key.
func short(subject string) string {
	if len(subject) <= maxSubject {
		return subject
	}
	return sum([]byte(subject))
}

func sum(b []byte) string {
	digest := sha256.Sum256(b)
	return hex.EncodeToString(digest[:])
}
