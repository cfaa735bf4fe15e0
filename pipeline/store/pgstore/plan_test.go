package pgstore

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

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
	return p.Tx.Query("EXPLAIN "+query, func(scan func(...any) error) error {
		var step string
		err := scan(&step)
		p.plan.WriteString(step + "\n")
		return err
	}, args...)
}

func TestLetters_FiltersReadAnIndex(t *testing.T) {
	t.Parallel()
	cfg, err := pgxpool.ParseConfig(place(t))
	require.NoError(t, err)
	cfg.ConnConfig.RuntimeParams["enable_seqscan"] = "off" // of a small table it is the cheapest
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	require.NoError(t, migrate(t.Context(), pool))
	for _, f := range storetest.Indexed() {
		p := &planned{Database: &database{pool: pool, marks: newMarks()}}
		_, err := sqlstore.New(p, dialect{}, store.Options{}).CountLetters(t.Context(), f)
		require.NoError(t, err)
		require.Contains(t, p.plan.String(), "Index Cond", f)
		require.NotContains(t, p.plan.String(), "Seq Scan", f)
	}
}
