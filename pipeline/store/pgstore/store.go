// Package pgstore is the store in a PostgreSQL database, for several
// instances that share the work.
//
// The transactions of a broker are never its own, so an outcome's writes are
// committed first, and the message is acknowledged then. Where the connection
// is lost during a COMMIT, the database is asked whether it happened: see
// commit.go.
package pgstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/internal/sqlstore"
)

//go:embed migrations/*.sql logmigrations/*.sql
var migrations embed.FS

// Store is a store.Store in a database.
type Store struct {
	*sqlstore.Store
	*sqlstore.Log
	pool *pgxpool.Pool
}

var _ store.Store = (*Store)(nil)

// Open connects to the database at url, a libpq URL or connection string, and
// brings its tables up to date, one instance at a time. Tables are made in the
// first schema of the search path. Pool settings are pgxpool's, in the URL.
func Open(ctx context.Context, url string, opts store.Options) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// Its text has the URL, with the password left out.
		return nil, pipeline.Permanent(fmt.Errorf("open store: %w: %w", store.ErrInvalid, err))
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", mark(err))
	}
	if err = migrate(ctx, pool); err == nil {
		err = sweep(ctx, pool)
	}
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("open store on %s: %w", cfg.ConnConfig.Host, mark(err))
	}
	return newStore(pool, opts), nil
}

func newStore(pool *pgxpool.Pool, opts store.Options) *Store {
	db := &database{pool: pool, marks: newMarks()}
	return &Store{Store: sqlstore.New(db, dialect{}, opts), Log: sqlstore.NewLog(db, dialect{}, opts), pool: pool}
}

// migrate brings the tables up to date, under an advisory lock.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // seconds, tries
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	return errors.Join(up(ctx, db, "migrations", "store_migration", locker), up(ctx, db, "logmigrations", "log_migration", locker), db.Close())
}

// up runs the migrations of one folder that the table does not have.
func up(ctx context.Context, db *sql.DB, folder, table string, locker lock.SessionLocker) error {
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName(table),
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Home implements store.Store: its writes join nobody's transaction.
func (s *Store) Home() string { return "" }

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("ping store: %w", mark(err))
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.pool.Close()
	return nil
}
