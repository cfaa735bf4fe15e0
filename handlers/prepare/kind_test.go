package prepare

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func handler(t *testing.T, c Config) message.HandlerFunc {
	t.Helper()
	kind := Kind()
	require.Equal(t, "prepare_order", kind.Name)
	require.NotEmpty(t, kind.Doc)
	require.False(t, kind.Effect)
	h, err := kind.New(pipeline.Env{Handler: "prepare", Version: "v-42"}, &c)
	require.NoError(t, err)
	return h
}

func TestKind(t *testing.T) {
	t.Parallel()
	t.Run("0-10 one order is handled by one call and gives one message", func(t *testing.T) {
		t.Parallel()
		out, err := handler(t, sample())(message.NewMessage("in", []byte(frameOrder)))
		require.NoError(t, err)
		require.Len(t, out, 1)
		require.Equal(t, frameJobs, string(out[0].Payload))
		require.Empty(t, out[0].UUID, "ids are the engine's")
	})
	t.Run("0-27 the prepared order is the body of the message", func(t *testing.T) {
		t.Parallel()
		out, err := handler(t, Config{})(message.NewMessage("in", []byte(frameOrder)))
		require.NoError(t, err)
		require.Equal(t, frameOrder, string(out[0].Payload))
	})
	t.Run("0-W3 metadata goes through", func(t *testing.T) {
		t.Parallel()
		in := message.NewMessage("in", []byte(frameOrder))
		in.Metadata = message.Metadata{pipeline.MetaCorrelationID: "c", "X-Own": "1", pipeline.MetaConfigVersion: "old"}
		out, err := handler(t, sample())(in)
		require.NoError(t, err)
		require.Equal(t, message.Metadata{pipeline.MetaCorrelationID: "c", "X-Own": "1", pipeline.MetaConfigVersion: "v-42"}, out[0].Metadata)
	})
	t.Run("0-D38 content type and encoding go through", func(t *testing.T) {
		t.Parallel()
		in := message.NewMessage("in", []byte(frameOrder))
		in.Metadata = message.Metadata{pipeline.MetaContentType: "application/vnd.order+json; charset=utf-8", "content-encoding": "identity"}
		out, err := handler(t, sample())(in)
		require.NoError(t, err)
		require.Equal(t, "application/vnd.order+json; charset=utf-8", out[0].Metadata.Get(pipeline.MetaContentType))
		require.Equal(t, "identity", out[0].Metadata.Get("content-encoding"))
	})
	t.Run("0-D26 the config's version is in the metadata, not in the body", func(t *testing.T) {
		t.Parallel()
		out, err := handler(t, sample())(message.NewMessage("in", []byte(frameOrder)))
		require.NoError(t, err)
		require.Equal(t, "v-42", out[0].Metadata.Get(pipeline.MetaConfigVersion))
		require.NotContains(t, string(out[0].Payload), "v-42")
	})
	t.Run("0-19 a body that is no order is a permanent failure and stays as it is", func(t *testing.T) {
		t.Parallel()
		in := message.NewMessage("in", []byte("[1,"))
		out, err := handler(t, sample())(in)
		require.True(t, pipeline.IsPermanent(err))
		require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
		require.Empty(t, out)
		require.Equal(t, "[1,", string(in.Payload))
	})
	t.Run("0-D22 a wrong config does not start", func(t *testing.T) {
		t.Parallel()
		_, err := Kind().New(pipeline.Env{}, &Config{Stages: Stages{Default: []string{}}})
		require.ErrorContains(t, err, "/stages/default")
		_, err = Kind().New(pipeline.Env{}, "nonsense")
		require.Error(t, err)
	})
}
