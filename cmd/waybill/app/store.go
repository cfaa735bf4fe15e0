package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/pgstore"
	"github.com/waybill-dev/waybill/pipeline/store/sqlitestore"
)

// openTimeout bounds how long opening a store waits for its server, and for
// other instances that bring its tables up to date.
const openTimeout = time.Minute

// openStore opens the pipeline's store and brings its tables up to date.
func openStore(p pipeline.Pipeline, log *slog.Logger) (store.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	var s store.Store
	var err error
	if p.Store.File != "" {
		s, err = sqlitestore.Open(ctx, p.Store.File, store.Options{Log: log})
	} else {
		s, err = pgstore.Open(ctx, p.Store.URL.Reveal(), store.Options{Log: log})
	}
	if err != nil { // s is a nil pointer of a driver then
		return nil, err
	}
	return s, nil
}
