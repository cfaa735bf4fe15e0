package store

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// Document is what a handler keeps under one key, as it was read.
type Document struct {
	Value   []byte
	Version int64 // rises with every save; 0: there is no document
}

// SaveParams say what to keep.
type SaveParams struct {
	Handler, Key string
	Version      int64 // that was read; 0: there was none
	Value        []byte
	Keep         time.Duration // from now on, by the store's clock; 0: for ever
}

// Documents is what handlers remember from one message to the next
// (pipeline.State): bytes under a key of the handler's own.
type Documents interface {
	// Document returns the handler's document of that key, the zero one where
	// there is none.
	Document(ctx context.Context, handler, key string) (Document, error)

	// SaveDocument puts a document in place of the version that was read.
	// ErrConflict: that is not the version any more. So a repeat of a save that
	// happened is a conflict, too, unlike those of other writes: the same change
	// by another message must not pass for it. Who repeats reads again first, and
	// finds what it did.
	SaveDocument(p SaveParams) pipeline.Write

	// ExpireDocuments deletes up to limit documents whose time is over, the
	// oldest first, and returns how many.
	ExpireDocuments(ctx context.Context, limit int) (int, error)
}
