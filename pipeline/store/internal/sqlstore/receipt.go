package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// keptOutput is a store.Output in the column of outputs.
type keptOutput struct {
	Name    string            `json:"name,omitzero"`
	ID      string            `json:"id"`
	Headers map[string]string `json:"headers,omitzero"` // encoded texts
	Payload []byte            `json:"payload"`
}

func encodeOutputs(outputs []store.Output) ([]byte, error) {
	kept := make([]keptOutput, len(outputs))
	for i, o := range outputs {
		kept[i] = keptOutput{Name: encodeText(o.Name), ID: encodeText(o.ID), Headers: make(map[string]string, len(o.Headers)), Payload: o.Payload}
		for k, v := range o.Headers {
			kept[i].Headers[encodeText(k)] = encodeText(v)
		}
	}
	return json.Marshal(kept, json.Deterministic(true))
}

func decodeOutputs(b []byte) ([]store.Output, error) {
	var kept []keptOutput
	if len(b) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(b, &kept); err != nil {
		return nil, fmt.Errorf("read outputs: %w", err)
	}
	outputs := make([]store.Output, len(kept))
	for i, k := range kept {
		headers := make(map[string]string, len(k.Headers))
		for name, v := range k.Headers {
			headers[decodeText(name)] = decodeText(v)
		}
		outputs[i] = store.Output{Name: decodeText(k.Name), ID: decodeText(k.ID), Content: store.Content{Headers: headers, Payload: k.Payload}}
	}
	return outputs, nil
}

const selectReceipt = "SELECT state, hash, owner, outcome, outputs, since FROM receipt WHERE subject = $1 AND effect = $2"

func receipt(tx Tx, key store.ReceiptKey) (store.Receipt, error) {
	r := store.Receipt{ReceiptKey: key, State: store.Free}
	var since int64
	var outputs []byte
	found, err := one(tx, selectReceipt, []any{&r.State, &r.Hash, &r.Owner, &r.Outcome, &outputs, &since}, encodeText(key.Subject), key.Effect)
	if err != nil || !found {
		return r, err
	}
	r.Since = fromMicros(since)
	r.Outputs, err = decodeOutputs(outputs)
	return r, err
}

// Receipt implements store.Receipts.
func (s *Store) Receipt(ctx context.Context, key store.ReceiptKey) (r store.Receipt, err error) {
	err = s.db.View(ctx, func(tx Tx) error {
		r, err = receipt(tx, key)
		return err
	})
	return r, wrap("get receipt", err)
}

// Reserve implements store.Receipts.
func (s *Store) Reserve(ctx context.Context, want store.Reservation) (was store.Receipt, err error) {
	err = s.update(ctx, "reserve receipt", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		fresh, err := tx.Exec(`INSERT INTO receipt (subject, effect, state, hash, owner, outcome, outputs, since)
			VALUES ($1, $2, 'reserved', $3, $4, '', $5, $6) ON CONFLICT (subject, effect) DO NOTHING`,
			encodeText(want.Subject), want.Effect, want.Hash, want.Owner, []byte{}, micros(now))
		if err != nil {
			return err
		}
		if fresh == 1 {
			was = store.Receipt{ReceiptKey: want.ReceiptKey, State: store.Free}
			return nil
		}
		if was, err = receipt(tx, want.ReceiptKey); err != nil {
			return err
		}
		taken := was.State == store.Free || // gone since: whoever asks again finds out
			was.State == store.Reserved && was.Owner != want.Owner && now.Before(was.Since.Add(want.Lease))
		if !taken {
			taken, err = s.takeOver(tx, want, was, now)
		}
		if taken {
			was.State = store.Busy
		}
		return err
	})
	return was, err
}

// takeOver makes a reservation the caller's that was left, and gives one that
// is done the hash of an edited copy. It reports whether somebody else was
// faster.
func (s *Store) takeOver(tx Tx, want store.Reservation, was store.Receipt, now time.Time) (taken bool, err error) {
	if was.Hash != want.Hash && !want.Edited {
		return false, pipeline.Permanent(fmt.Errorf("%w: %s of %s is for other content", store.ErrConflict, want.Effect, want.Subject))
	}
	if was.State == store.Done && was.Hash == want.Hash {
		return false, nil
	}
	owner, since := want.Owner, now
	if was.State == store.Done {
		owner, since = was.Owner, was.Since
	}
	changed, err := tx.Exec(`UPDATE receipt SET hash = $3, owner = $4, since = $5
		WHERE subject = $1 AND effect = $2 AND state = $6 AND owner = $7 AND since = $8`,
		encodeText(want.Subject), want.Effect, want.Hash, owner, micros(since), string(was.State), was.Owner, micros(was.Since))
	return changed == 0, err
}

// RenewReceipts implements store.Receipts.
func (s *Store) RenewReceipts(ctx context.Context, owner string, keys ...store.ReceiptKey) error {
	if len(keys) == 0 {
		return nil
	}
	return s.update(ctx, "renew receipts", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if _, err = tx.Exec(`UPDATE receipt SET since = $4 WHERE subject = $1 AND effect = $2 AND owner = $3 AND state = 'reserved'`,
				encodeText(key.Subject), key.Effect, owner, micros(now)); err != nil {
				return err
			}
		}
		return nil
	})
}

// FinishReceipt implements store.Receipts.
func (s *Store) FinishReceipt(r store.Receipt) pipeline.Write {
	return s.write("finish receipt", func(tx Tx) error {
		outputs, err := encodeOutputs(r.Outputs)
		if err != nil {
			return err
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO receipt (subject, effect, state, hash, owner, outcome, outputs, since) VALUES ($1, $2, 'done', $3, $4, $5, $6, $7)
			ON CONFLICT (subject, effect) DO UPDATE SET state = 'done', hash = excluded.hash, owner = excluded.owner,
				outcome = excluded.outcome, outputs = excluded.outputs, since = excluded.since`,
			encodeText(r.Subject), r.Effect, r.Hash, r.Owner, show(r.Outcome), outputs, micros(now))
		return err
	})
}

// FreeReceipt implements store.Receipts.
func (s *Store) FreeReceipt(key store.ReceiptKey, owner string) pipeline.Write {
	return s.write("free receipt", func(tx Tx) error {
		_, err := tx.Exec("DELETE FROM receipt WHERE subject = $1 AND effect = $2 AND owner = $3 AND state = 'reserved'",
			encodeText(key.Subject), key.Effect, owner)
		return err
	})
}

// ExpireReceipts implements store.Receipts.
func (s *Store) ExpireReceipts(ctx context.Context, before time.Time, n int) (int, error) {
	var gone int64
	err := s.update(ctx, "expire receipts", func(tx Tx) (err error) {
		gone, err = tx.Exec(`DELETE FROM receipt WHERE (subject, effect) IN
			(SELECT subject, effect FROM receipt WHERE since < $1 ORDER BY since LIMIT $2) AND since < $1`, micros(before), limit(n))
		return err
	})
	return int(gone), err
}
