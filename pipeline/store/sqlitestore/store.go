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
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/internal/sqlstore"
)

//go:embed migrations/*.sql logmigrations/*.sql
var migrations embed.FS

// logFile is the name of the message log's file, beside the store's.
const logFile = "log.db"

// Store is a store.Store in a SQLite file.
type Store struct {
	*sqlstore.Store
	*sqlstore.Log
	file, log *sqlitefile.File
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file at path, making it if it is not there. It
// fails if another process has the file; within the process the embedded
// broker may have it open, too.
//
// The message log is in log.db in the same folder, with synchronous=NORMAL: a
// power loss may cost its last moments, and its batches hold up nobody else's
// writes. Where that file is damaged it is put aside, and a new one begun: it
// keeps nothing that messages need.
func Open(ctx context.Context, path string, opts store.Options) (*Store, error) {
	file, err := open(ctx, path, "migrations", sqlitefile.Options{})
	if err != nil {
		return nil, err
	}
	log, err := openLog(ctx, filepath.Join(filepath.Dir(path), logFile), opts.Log)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Store{
		Store: sqlstore.New(database{file}, dialect{}, opts), file: file,
		Log: sqlstore.NewLog(database{log}, dialect{}, opts), log: log,
	}, nil
}

// openLog opens the message log's file, with a new one in the place of one that
// is damaged.
func openLog(ctx context.Context, path string, log *slog.Logger) (*sqlitefile.File, error) {
	open := func() (*sqlitefile.File, error) {
		return open(ctx, path, "logmigrations", sqlitefile.Options{Normal: true})
	}
	file, err := open()
	if !errors.Is(err, sqlitefile.ErrDamaged) {
		return file, err
	}
	aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
	for _, part := range []string{"-shm", "-wal", ""} { // the file last: until it is gone, this is done again
		if err := os.Rename(path+part, aside+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("put the damaged message log aside: %w", err)
		}
	}
	if log != nil {
		log.Warn("the message log is damaged: it is put aside, and a new one begins; no message is affected", "file", aside, "error", err)
	}
	return open()
}

// open opens a file and brings its tables up to date.
func open(ctx context.Context, path, folder string, opts sqlitefile.Options) (*sqlitefile.File, error) {
	file, err := sqlitefile.Open(path, opts)
	if err != nil {
		return nil, unavailable(fmt.Errorf("open store: %w", err))
	}
	if err := migrate(ctx, file, folder); err != nil {
		return nil, errors.Join(unavailable(fmt.Errorf("open store %s: %w", path, err)), file.Close())
	}
	return file, nil
}

func migrate(ctx context.Context, file *sqlitefile.File, folder string) error {
	files, err := fs.Sub(migrations, folder)
	if err != nil {
		return err
	}
	return file.Migrate(func(db *sql.DB) error {
		p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName("store_migration"), goose.WithDisableGlobalRegistry(true))
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
func (s *Store) Close() error { return errors.Join(s.log.Close(), s.file.Close()) }
