package sqlitestore

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/internal/sqlstore"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// planned writes down the plans of queries instead of asking them.
type planned struct {
	sqlstore.Database
	plan strings.Builder
}

func (p *planned) View(ctx context.Context, fn func(sqlstore.Tx) error) error {
	return p.Database.View(ctx, func(tx sqlstore.Tx) error { return fn(planning{tx, &p.plan}) })
}

type planning struct {
	sqlstore.Tx
	plan *strings.Builder
}

func (p planning) Query(query string, _ func(func(...any) error) error, args ...any) error {
	return p.Tx.Query("EXPLAIN QUERY PLAN "+query, func(scan func(...any) error) error {
		var step string
		err := scan(new(any), new(any), new(any), &step)
		p.plan.WriteString(step + "\n")
		return err
	}, args...)
}

func TestLetters_FiltersReadAnIndex(t *testing.T) {
	t.Parallel()
	file, err := open(t.Context(), filepath.Join(t.TempDir(), "waybill.db"), "migrations", sqlitefile.Options{})
	require.NoError(t, err)
	defer file.Close()
	for _, f := range storetest.Indexed() {
		p := &planned{Database: database{file}}
		_, err := sqlstore.New(p, dialect{}, store.Options{}).CountLetters(t.Context(), f)
		require.NoError(t, err)
		require.Contains(t, p.plan.String(), "SEARCH dead_letter USING", f)
		require.NotContains(t, p.plan.String(), "SCAN", f)
	}
}

// written collects what the writer is asked.
type written struct {
	sqlstore.Database
	queries []string
}

func (w *written) Update(ctx context.Context, fn func(sqlstore.Tx) error) error {
	return w.Database.Update(ctx, func(tx sqlstore.Tx) error { return fn(collecting{tx, w}) })
}

type collecting struct {
	sqlstore.Tx
	all *written
}

func (c collecting) Query(query string, row func(func(...any) error) error, args ...any) error {
	c.all.queries = append(c.all.queries, query)
	return c.Tx.Query(query, row, args...)
}

// TestMoveLetters_LooksIntoLettersAsAReader: publishes do not wait while every
// payload is read.
func TestMoveLetters_LooksIntoLettersAsAReader(t *testing.T) {
	t.Parallel()
	file, err := open(t.Context(), filepath.Join(t.TempDir(), "waybill.db"), "migrations", sqlitefile.Options{})
	require.NoError(t, err)
	defer file.Close()
	w := &written{Database: database{file}}
	s := sqlstore.New(w, dialect{}, store.Options{})
	l := store.DeadLetter{Handler: "prepare", Message: "m-1", Copy: "1", Content: store.Content{Payload: []byte(`{"id": "7"}`)}}
	require.NoError(t, s.Do(t.Context(), s.Bury(l)))
	n, err := s.MoveLetters(t.Context(), store.MoveAll{
		Filter: store.Filter{Field: store.FieldPointer, Name: "/id", Value: "7"}, From: store.Dead, To: store.Archived,
	})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Len(t, w.queries, 1)
	require.NotContains(t, w.queries[0], "waybill_pointer")
}
