package handlertest_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/pipeline"
)

// config of the kind that these tests run.
type config struct {
	Word  string `yaml:"word"`
	Inner struct {
		Left  int `yaml:"left"`
		Right int `yaml:"right"`
	} `yaml:"inner"`
}

func (c *config) Validate() []error {
	if c.Word == "" {
		return []error{errors.New("no word"), errors.New("none at all")}
	}
	return nil
}

// echo is a kind that shows what it was made with.
func echo(stopped *[]string) pipeline.Kind {
	return pipeline.Kind{
		Name: "echo",
		NewConfig: func() any {
			c := &config{Word: "default"}
			c.Inner.Left, c.Inner.Right = 1, 2
			return c
		},
		New: func(env pipeline.Env, conf any) (message.HandlerFunc, error) {
			c := conf.(*config)
			if c.Word == "refuse" {
				return nil, errors.New("refused")
			}
			for _, name := range []string{"first", "second"} {
				env.OnStop(func() { *stopped = append(*stopped, name) })
			}
			return func(msg *message.Message) ([]*message.Message, error) {
				env.Log.Debug("quiet", "dir", env.Dir)
				env.Log.Warn(c.Word, "left", c.Inner.Left, "right", c.Inner.Right)
				return output.Each(msg, env.Outputs, []byte(env.Handler)), nil
			}, nil
		},
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	var stopped []string
	h := handlertest.Start(t, echo(&stopped), handlertest.Params{
		With: "word: given\ninner: {right: 3}", Name: "mine", Outputs: []string{"a", "b"}, Dir: "here",
	})
	outs, err := h.Handle(handlertest.Message("payload", "k", "v"))
	require.NoError(t, err)
	require.Len(t, outs, 2)
	require.Equal(t, "mine", string(outs[0].Payload))
	require.Equal(t, "v", outs[0].Metadata.Get("k"))
	require.Equal(t, "b", pipeline.OutputOf(outs[1]))

	require.Equal(t, []string{"given"}, h.Log())
	require.Equal(t, []string{"quiet", "given"}, h.LogAt(slog.LevelDebug))
	require.Contains(t, h.LogText(), `"left":1,"right":3`, "a key that is not given keeps its default")
	require.Contains(t, h.LogText(), `"dir":"here"`)

	h.Stop()
	h.Stop()
	require.Equal(t, []string{"second", "first"}, stopped)
}

func TestStart_Defaults(t *testing.T) {
	t.Parallel()
	h := handlertest.Start(t, echo(new([]string)), handlertest.Params{Outputs: []string{""}})
	outs, err := h.Handle(handlertest.Message(""))
	require.NoError(t, err)
	require.Equal(t, "echo", string(outs[0].Payload), "the kind's name serves")
	require.Equal(t, []string{"default"}, h.Log())
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for with, want := range map[string]string{
		"word: ''":       "no word\nnone at all",
		"words: x":       "unknown field",
		"inner: {up: 1}": "unknown field",
		"word: refuse":   "refused",
	} {
		_, err := handlertest.New(t, echo(new([]string)), handlertest.Params{With: with})
		require.ErrorContains(t, err, want, with)
	}
}

// TestState: what a run saves is there for the next, unless the run failed or
// another one was faster.
func TestState(t *testing.T) {
	t.Parallel()
	state := &handlertest.State{}
	kind := pipeline.Kind{
		Name: "remember", NewConfig: func() any { return nil },
		New: func(env pipeline.Env, _ any) (message.HandlerFunc, error) {
			if env.State == nil {
				return nil, errors.New("no store")
			}
			return func(msg *message.Message) ([]*message.Message, error) {
				value, version, err := env.State.Load(msg.Context(), "k")
				if err != nil {
					return nil, err
				}
				pipeline.OutcomeOf(msg.Context()).Save(env.State.Save("k", version, append(value, msg.Payload...), 0))
				switch string(msg.Payload) {
				case "fail":
					return nil, errors.New("failed")
				case "late":
					require.NoError(t, state.Save("k", version, value, 0)(nil))
				}
				return nil, nil
			}, nil
		},
	}
	_, err := handlertest.New(t, kind, handlertest.Params{})
	require.EqualError(t, err, "no store")
	h := handlertest.Start(t, kind, handlertest.Params{State: state})
	for _, payload := range []string{"a", "b"} {
		_, err = h.Handle(handlertest.Message(payload))
		require.NoError(t, err)
	}
	_, err = h.Handle(handlertest.Message("fail"))
	require.EqualError(t, err, "failed")
	_, err = h.Handle(handlertest.Message("late"))
	require.ErrorIs(t, err, pipeline.ErrOutdated)
	value, version, err := state.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "ab", string(value))
	require.Equal(t, int64(3), version)
}

func TestMessage(t *testing.T) {
	t.Parallel()
	msg := handlertest.Message("payload", "a", "1", "b", "2")
	require.Equal(t, "msg-1", msg.UUID)
	require.Equal(t, "payload", string(msg.Payload))
	require.Equal(t, message.Metadata{"a": "1", "b": "2"}, msg.Metadata)
}
