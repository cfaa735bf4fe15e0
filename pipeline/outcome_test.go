package pipeline_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
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
			Began: time.Now(), Result: pipeline.ResultDead, Reason: pipeline.ReasonTimeout, Err: errors.New("x"), Attempts: 1, First: time.Now(), Last: time.Now(),
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

func TestOutcome_Then(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")

	t.Run("what is known is told at once", func(t *testing.T) {
		t.Parallel()
		o := &pipeline.Outcome{}
		require.ErrorIs(t, o.Then(nil, nil, func(_ *message.Message, _ *pipeline.Outcome, err error) error { return errors.Join(err, failed) }), failed)
	})

	t.Run("what is known later is told then, from inside to outside", func(t *testing.T) {
		t.Parallel()
		o := &pipeline.Outcome{}
		o.Defer(never{})
		var told []string
		for _, name := range []string{"inner", "middle", "outer"} {
			require.NoError(t, o.Then(nil, nil, func(_ *message.Message, _ *pipeline.Outcome, err error) error {
				told = append(told, name)
				return fmt.Errorf("%s: %w", name, err)
			}))
		}
		require.Empty(t, told)
		require.EqualError(t, o.Conclude(failed), "outer: middle: inner: failed")
		require.Equal(t, []string{"inner", "middle", "outer"}, told)
	})

	t.Run("what fails after that defers nothing", func(t *testing.T) {
		t.Parallel()
		o := &pipeline.Outcome{}
		o.Defer(never{})
		require.NoError(t, o.Then(nil, nil, func(_ *message.Message, _ *pipeline.Outcome, err error) error { return fmt.Errorf("inner: %w", err) }))
		require.EqualError(t, o.Then(nil, failed, func(_ *message.Message, _ *pipeline.Outcome, err error) error { return fmt.Errorf("outer: %w", err) }), "outer: inner: failed")
		require.Nil(t, o.Deferred())
	})

	t.Run("a panic keeps nobody outside from ending", func(t *testing.T) {
		t.Parallel()
		var panicked *pipeline.PanicError
		o := &pipeline.Outcome{}
		require.ErrorAs(t, o.Then(nil, nil, func(*message.Message, *pipeline.Outcome, error) error { panic("at once") }), &panicked)
		o.Defer(never{})
		ended := false
		_ = o.Then(nil, nil, func(*message.Message, *pipeline.Outcome, error) error { panic("later") })
		_ = o.Then(nil, nil, func(_ *message.Message, _ *pipeline.Outcome, err error) error { ended = true; return err })
		require.ErrorAs(t, o.Conclude(nil), &panicked)
		require.True(t, ended)
	})
}

// never begins nothing.
type never struct{}

func (never) Begin(*pipeline.Outcome, func(*pipeline.Outcome, error)) {}
