package pipeline_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// unheard is a witness that keeps nothing.
type unheard struct{}

func (unheard) Began(int)   {}
func (unheard) Ended(error) {}

func TestOutcome_Reset(t *testing.T) {
	t.Parallel()

	t.Run("forgets all of the run but who follows it", func(t *testing.T) {
		t.Parallel()
		o := &pipeline.Outcome{
			Result: pipeline.ResultDead, Reason: pipeline.ReasonTimeout, Err: errors.New("x"), Attempts: 1, First: time.Now(), Last: time.Now(),
			Outputs: []string{"o"}, Answer: "a", Before: true, Witness: unheard{},
		}
		filled := reflect.ValueOf(*o)
		for _, field := range reflect.VisibleFields(filled.Type()) {
			require.False(t, field.IsExported() && filled.FieldByIndex(field.Index).IsZero(), "this test knows nothing of %s", field.Name)
		}
		ended := false
		o.Settling(func(pipeline.Result) pipeline.Write { return func(any) error { return nil } })
		o.Finally(func() { ended = true })
		o.Reset(pipeline.Outcome{Attempts: 3})
		require.True(t, ended)
		require.Equal(t, &pipeline.Outcome{Attempts: 3, Witness: unheard{}}, o)
	})

	t.Run("leaves alone what a goroutine of the run before may still read", func(t *testing.T) {
		t.Parallel()
		o := &pipeline.Outcome{Witness: unheard{}}
		before := *o
		seen := make(chan pipeline.Witness)
		go func() { seen <- o.Witness }()
		o.Reset(before)
		require.NotNil(t, <-seen)
	})
}
