package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Document implements store.Documents.
func (s *Store) Document(ctx context.Context, handler, key string) (d store.Document, err error) {
	err = s.view(ctx, "get document", "SELECT value, version FROM document WHERE handler = $1 AND doc_key = $2",
		func(scan func(...any) error) error { return scan(&d.Value, &d.Version) }, handler, indexed(key))
	return d, err
}

const (
	insertDocument = `INSERT INTO document (handler, doc_key, version, value, expires_at) VALUES ($1, $2, $3 + 1, $4, $5)
		ON CONFLICT (handler, doc_key) DO NOTHING`
	updateDocument = `UPDATE document SET version = $3 + 1, value = $4, expires_at = $5 WHERE handler = $1 AND doc_key = $2 AND version = $3`
)

// SaveDocument implements store.Documents.
func (s *Store) SaveDocument(p store.SaveParams) pipeline.Write {
	return s.write("save document", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		var expires time.Time
		if p.Keep > 0 {
			expires = now.Add(p.Keep)
		}
		save := updateDocument
		if p.Version == 0 {
			save = insertDocument
		}
		n, err := tx.Exec(save, p.Handler, indexed(p.Key), p.Version, bytesOf(p.Value), micros(expires))
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: %s of handler %s has changed since version %d was read", store.ErrConflict, show(store.ShortID(p.Key)), p.Handler, p.Version)
		}
		return err
	})
}

// ExpireDocuments implements store.Documents.
func (s *Store) ExpireDocuments(ctx context.Context, n int) (int, error) {
	var gone int64
	err := s.update(ctx, "expire documents", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		gone, err = tx.Exec(`DELETE FROM document WHERE (handler, doc_key) IN
			(SELECT handler, doc_key FROM document WHERE expires_at > 0 AND expires_at <= $1 ORDER BY expires_at LIMIT $2)
			AND expires_at > 0 AND expires_at <= $1`, micros(now), limit(n))
		return err
	})
	return int(gone), err
}
