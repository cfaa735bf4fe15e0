// Package handlertest runs one handler of a kind on messages, without a
// broker, and shows what came out: for the tests of Waybill's own kinds, and
// for those of people who write theirs.
//
//	h := handlertest.Start(t, mine.Kind(), handlertest.Params{With: "greeting: hello", Outputs: []string{"mail"}})
//	out, err := h.Handle(handlertest.Message(`{"id": "1"}`))
//	require.NoError(t, err)
//	require.Equal(t, "mail", pipeline.OutputOf(out[0]))
//
// What the engine adds to a handler (retries, timeouts, ids of outputs) is not
// here: one sees what the kind itself does.
package handlertest

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// Params says which handler to make.
type Params struct {
	With    string   // the kind's config as YAML, as it would stand under `with:`; "" for the defaults
	Name    string   // the handler's name; "" for the kind's
	Outputs []string // names of its outputs; [""] for a plain `to:`; nil for none
	Dir     string   // where relative paths of the config start
	State   *State   // what the handler remembers; nil: it is run without a store
}

// Handler is one running handler.
type Handler struct {
	t      testing.TB
	handle message.HandlerFunc
	log    journal
	onStop []func()
}

// Start makes a handler of kind and fails the test if its config is wrong. The
// handler is stopped at the end of the test.
func Start(t testing.TB, kind pipeline.Kind, params Params) *Handler {
	t.Helper()
	h, err := New(t, kind, params)
	require.NoError(t, err)
	return h
}

// New is Start for tests of what a wrong config gives: all that the config's
// own check found, or the error of the kind's New.
func New(t testing.TB, kind pipeline.Kind, params Params) (*Handler, error) {
	t.Helper()
	config, err := decode(kind, params.With)
	if err != nil {
		return nil, err
	}
	h := &Handler{t: t}
	t.Cleanup(h.Stop)
	h.handle, err = kind.New(h.env(kind, params), config)
	return h, err
}

func (h *Handler) env(kind pipeline.Kind, params Params) pipeline.Env {
	name := params.Name
	if name == "" {
		name = kind.Name
	}
	env := pipeline.Env{
		Handler: name,
		Version: "test",
		Outputs: params.Outputs,
		Dir:     params.Dir,
		Log:     slog.New(slog.NewJSONHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnStop:  func(stop func()) { h.onStop = append(h.onStop, stop) },
	}
	if params.State != nil {
		env.State = params.State
	}
	return env
}

// decode does what the loader does: defaults, a strict decode, the check.
func decode(kind pipeline.Kind, with string) (any, error) {
	config := kind.NewConfig()
	if with != "" {
		if err := yaml.UnmarshalWithOptions([]byte(with), config, yaml.Strict()); err != nil {
			return nil, err
		}
	}
	if v, ok := config.(pipeline.Validator); ok {
		if err := errors.Join(v.Validate()...); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// Handle runs the handler on msg once and returns its outputs. What the run
// saves of its state is saved if it succeeds; the error is pipeline.ErrOutdated
// if that came too late.
func (h *Handler) Handle(msg *message.Message) ([]*message.Message, error) {
	h.t.Helper()
	outcome := &pipeline.Outcome{}
	msg.SetContext(pipeline.WithOutcome(msg.Context(), outcome))
	outs, err := h.handle(msg)
	if err != nil {
		return nil, err
	}
	for _, write := range outcome.Writes(pipeline.ResultOK) {
		if err := write(nil); err != nil {
			return nil, err
		}
	}
	return outs, nil
}

// Stop runs what the kind registered with Env.OnStop, last first, as the
// engine does. The second call does nothing.
func (h *Handler) Stop() {
	for i := len(h.onStop) - 1; i >= 0; i-- {
		h.onStop[i]()
	}
	h.onStop = nil
}

// Message returns a message with this payload, the id "msg-1", and metadata
// given as key, value, key, value.
func Message(payload string, metadata ...string) *message.Message {
	msg := message.NewMessageWithContext(context.Background(), "msg-1", []byte(payload))
	for i := 0; i+1 < len(metadata); i += 2 {
		msg.Metadata.Set(metadata[i], metadata[i+1])
	}
	return msg
}
