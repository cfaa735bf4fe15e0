package handlertest

import (
	"context"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// State is a pipeline.State in memory. The zero value is empty and ready.
type State struct {
	mu        sync.Mutex
	documents map[string]document
}

type document struct {
	value   []byte
	version int64
}

var _ pipeline.State = (*State)(nil)

// Load implements pipeline.State.
func (s *State) Load(_ context.Context, key string) ([]byte, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.documents[key]
	return d.value, d.version, nil
}

// Save implements pipeline.State. Nothing is forgotten.
func (s *State) Save(key string, version int64, value []byte, _ time.Duration) pipeline.Write {
	return func(any) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.documents[key].version != version {
			return pipeline.ErrOutdated
		}
		if s.documents == nil {
			s.documents = make(map[string]document)
		}
		s.documents[key] = document{value, version + 1}
		return nil
	}
}
