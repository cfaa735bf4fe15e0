package engine

import (
	"context"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
)

// A message of our own making has no broker that could acknowledge it: its
// outputs are published by themselves.
func TestSend_OfOurOwnMaking(t *testing.T) {
	t.Parallel()
	r := newRig(t, pass, nil)
	defer func() { require.NoError(t, r.Stop(context.Background())) }()
	in, out := message.NewMessage("in", nil), message.NewMessage("out", nil)
	pipeline.SetOutput(out, "answers")
	each, err := r.sender()(t.Context(), in, []middleware.Output{{Topic: "out", Message: out}}, nil)
	require.NoError(t, err)
	require.Equal(t, []error{nil}, each)
	require.Equal(t, []*message.Message{out}, r.fake.on("out"))
	require.Equal(t, "answers", pipeline.OutputOf(out), "whoever records it afterwards still knows which output it is")
}
