// Package sqlitestore is the store in one SQLite file: the default, for one
// process. By default the file is the embedded broker's too, and then an
// outcome is one transaction: see Home, and package store.
//
// All writes go through the file's one writer (package sqlitefile), which
// commits many of them with one fsync. Reads have connections of their own and
// wait for nobody.
package sqlitestore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/internal/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is a store.Store in a SQLite file.
type Store struct {
	*sqlstore.Store
	file *sqlitefile.File
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path, making it if it is not there. It
// fails if another process has the file; within the process the embedded
// broker may have it open, too.
func Open(ctx context.Context, path string, opts store.Options) (*Store, error) {
	file, err := sqlitefile.Open(path, sqlitefile.Options{})
	if err != nil {
		return nil, unavailable(err)
	}
	if err := migrate(ctx, file); err != nil {
		return nil, errors.Join(unavailable(fmt.Errorf("open store %s: %w", path, err)), file.Close())
	}
	return &Store{Store: sqlstore.New(database{file}, dialect{}, opts), file: file}, nil
}

// migrate brings the tables up to date.
func migrate(ctx context.Context, file *sqlitefile.File) error {
	folder, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return file.Migrate(func(db *sql.DB) error {
		p, err := goose.NewProvider(goose.DialectSQLite3, db, folder, goose.WithTableName("store_migration"), goose.WithDisableGlobalRegistry(true))
		if err != nil {
			return err
		}
		_, err = p.Up(ctx)
		return err
	})
}

// Home implements store.Store.
func (s *Store) Home() string { return s.file.Path() }

// Ping implements store.Store: it writes a page without changing anything, as
// only a write tells whether the disk takes one.
func (s *Store) Ping(ctx context.Context) error {
	err := s.file.Write(ctx, func(tx *sqlitefile.Tx) error {
		_, err := tx.Exec("UPDATE store_migration SET is_applied = is_applied WHERE id = (SELECT min(id) FROM store_migration)")
		return err
	})
	if err != nil {
		return fmt.Errorf("ping store: %w", unavailable(err))
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error { return s.file.Close() }
