package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	askAgain  = 200 * time.Millisecond
	askAtMost = 30 * time.Second // for the end of a COMMIT whose answer was lost
	askLonger = 5 * time.Second  // for the same, past the caller's deadline
	askOnStop = time.Second      // and once the caller was told to stop
)

// marks let transactions be recognised: each writes a token of its own beside
// its work.
//
// A connection that is lost during COMMIT leaves open whether it happened, and
// a caller that is told "failed" would refuse what it did itself (a token of
// its own lease is stale then). The token says: where it is, the transaction
// has committed. The number that PostgreSQL gives a transaction does not: after
// a crash it gives the numbers of those that were lost to others, which commit
// (seen in TestDo_ServerKilled).
type marks struct {
	name string // tells this instance's tokens from others'

	mu    sync.Mutex
	count int
	ended []string // tokens that nobody will ask for, and that are still there
}

func newMarks() *marks { return &marks{name: rand.Text()} }

// begin marks a transaction and takes away old marks in the same statement.
func (m *marks) begin(ctx context.Context, tx pgx.Tx) (token string, ended []string, err error) {
	m.mu.Lock()
	m.count++
	token = m.name + "-" + strconv.Itoa(m.count)
	ended, m.ended = m.ended, nil
	m.mu.Unlock()
	if ended == nil {
		ended = []string{}
	}
	_, err = tx.Exec(ctx, "WITH gone AS (DELETE FROM store_commit WHERE token = ANY($2)) INSERT INTO store_commit (token) VALUES ($1)", token, ended)
	return token, ended, err
}

// done says that nobody will ask for these any more.
func (m *marks) done(tokens ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = append(m.ended, tokens...)
}

// answered reports whether the error of a COMMIT says that it did not happen.
// An error of any other kind, that the server is going down for one, does not.
func answered(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return class(refused) == classRetry || class(refused) == classConstraint
	}
	return errors.Is(err, pgx.ErrTxCommitRollback)
}

// insist returns a context for the end of a COMMIT, which outlives the caller's:
// the outcome counts more than its deadline. One that was cancelled it outlives by
// little: the caller stops, and what it has not heard of comes again.
func insist(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := time.AfterFunc(askAtMost, cancel)
	unlink := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			timer.Reset(askOnStop)
		} else {
			timer.Reset(askLonger)
		}
	})
	return longer, func() {
		unlink()
		timer.Stop()
		cancel()
	}
}

// fate finds out how a transaction ended whose COMMIT had no answer.
func (m *marks) fate(ctx context.Context, pool *pgxpool.Pool, token string, lost error) error {
	ctx, cancel := insist(ctx)
	defer cancel()
	for {
		there, err := ask(ctx, pool, token)
		switch {
		case err == nil && there:
			return nil
		case err == nil:
			return fmt.Errorf("commit: %w", lost)
		}
		select {
		case <-time.After(askAgain): // the server is away
		case <-ctx.Done():
			return fmt.Errorf("commit: its outcome is not known: %w", lost)
		}
	}
}

// ask reports whether the transaction of a token has committed, by writing the
// token again: that waits for it if it is still under way, does nothing if it
// has committed, and succeeds if it has not. What it writes it takes back: this
// answer may be lost, too, and who asks again must not find it.
func ask(ctx context.Context, pool *pgxpool.Pool, token string) (there bool, err error) {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback(ctx) }() // where that fails, the server does it
	tag, err := tx.Exec(ctx, "INSERT INTO store_commit (token) VALUES ($1) ON CONFLICT DO NOTHING", token)
	return tag.RowsAffected() == 0, err
}

// sweep removes marks that were left behind by instances that are gone.
func sweep(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, "DELETE FROM store_commit WHERE at < now() - INTERVAL '1 day'")
	return err
}
