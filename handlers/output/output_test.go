package output_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/pipeline"
)

func TestNew(t *testing.T) {
	t.Parallel()
	in := message.NewMessage("in", []byte("payload"))
	in.Metadata.Set("k", "v")
	out := output.New(in, "email", []byte("other"))
	require.Empty(t, out.UUID, "the engine gives it")
	require.Equal(t, "other", string(out.Payload))
	require.Equal(t, "v", out.Metadata.Get("k"))
	require.Equal(t, "email", pipeline.OutputOf(out))
	require.Empty(t, pipeline.OutputOf(in))

	out.Metadata.Set("k", "w")
	require.Equal(t, "v", in.Metadata.Get("k"), "the metadata is a copy")
}

func TestEach(t *testing.T) {
	t.Parallel()
	in := message.NewMessage("in", []byte("payload"))
	require.Empty(t, output.Each(in, nil, in.Payload))
	outs := output.Each(in, []string{"a", "b"}, in.Payload)
	require.Len(t, outs, 2)
	require.Equal(t, "b", pipeline.OutputOf(outs[1]))
}
