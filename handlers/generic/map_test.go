package generic_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/generic"
	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/pipeline"
)

const payload = `{ "id":"1", "total":2960.10, "big":12345678901234567890, "tags":["a","b"] }` + "\n"

func TestMap(t *testing.T) {
	t.Parallel()

	t.Run("without rules the bytes stay", func(t *testing.T) {
		t.Parallel()
		for _, payload := range []string{payload, "no JSON", ""} {
			outs := handle(t, start(t, generic.Map(), "", ""), handlertest.Message(payload, "k", "v"))
			require.Equal(t, payload, string(outs[0].Payload))
			require.Equal(t, message.Metadata{"k": "v"}, outs[0].Metadata)
		}
	})
	t.Run("a rule makes the payload, numbers exact", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Map(), `payload: '{"total": payload.total, "big": payload.big, "from": meta.shop, "all": payload.tags}'`, "")
		outs := handle(t, h, handlertest.Message(payload, "shop", "x", pipeline.MetaContentType, "text/plain"))
		require.Equal(t, `{"all":["a","b"],"big":12345678901234567890,"from":"x","total":2960.10}`, string(outs[0].Payload))
		require.Equal(t, "application/json", outs[0].Metadata.Get(pipeline.MetaContentType))
	})
	t.Run("rules make metadata", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Map(), `meta: {id: payload.id, total: payload.total, tags: payload.tags, gone: nil, yes: true, old: meta.id}`, "")
		outs := handle(t, h, handlertest.Message(payload, "gone", "x", "id", "before"))
		require.Equal(t, payload, string(outs[0].Payload))
		require.Equal(t, message.Metadata{
			"id": "1", "total": "2960.10", "tags": `["a","b"]`, "yes": "true", "old": "before",
		}, outs[0].Metadata)
	})
	t.Run("each output gets the message", func(t *testing.T) {
		t.Parallel()
		outs := handle(t, start(t, generic.Map(), "meta: {k: '\"v\"'}", "a", "b"), handlertest.Message(payload))
		require.Equal(t, []string{"a", "b"}, names(outs))
		require.Empty(t, handle(t, start(t, generic.Map(), ""), handlertest.Message(payload)))
	})
	t.Run("a rule over metadata takes any payload, one over the payload does not", func(t *testing.T) {
		t.Parallel()
		outs := handle(t, start(t, generic.Map(), "meta: {a: meta.b}", ""), handlertest.Message("\xff", "b", "c"))
		require.Equal(t, "c", outs[0].Metadata.Get("a"))
		for _, with := range []string{"meta: {a: payload.b}", "payload: payload.b"} {
			requireInvalid(t, start(t, generic.Map(), with, ""), handlertest.Message("\xff"), "not valid JSON")
		}
	})
	t.Run("a rule that fails names itself", func(t *testing.T) {
		t.Parallel()
		requireInvalid(t, start(t, generic.Map(), "payload: payload.id + 1", ""), handlertest.Message(payload), "payload.id + 1")
	})
}

func TestMap_Delay(t *testing.T) {
	t.Parallel()

	t.Run("it sleeps", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, began := start(t, generic.Map(), "delay: 50ms", ""), time.Now()
			require.Len(t, handle(t, h, handlertest.Message(payload)), 1)
			require.Equal(t, 50*time.Millisecond, time.Since(began))
		})
	})
	t.Run("a stop does not wait for it", func(t *testing.T) {
		t.Parallel()
		ctx, stop := context.WithCancelCause(t.Context())
		stop(pipeline.ErrStopping)
		msg := handlertest.Message(payload)
		msg.SetContext(ctx)
		_, err := start(t, generic.Map(), "delay: 1h", "").Handle(msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
	})
}

func start(t *testing.T, kind pipeline.Kind, with string, outputs ...string) *handlertest.Handler {
	t.Helper()
	return handlertest.Start(t, kind, handlertest.Params{With: with, Outputs: outputs})
}

func handle(t *testing.T, h *handlertest.Handler, msg *message.Message) []*message.Message {
	t.Helper()
	outs, err := h.Handle(msg)
	require.NoError(t, err)
	return outs
}

// requireInvalid requires a permanent error that holds this text.
func requireInvalid(t *testing.T, h *handlertest.Handler, msg *message.Message, text string) {
	t.Helper()
	outs, err := h.Handle(msg)
	require.Empty(t, outs)
	require.ErrorContains(t, err, text)
	require.True(t, pipeline.IsPermanent(err), "%v", err)
	require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
}

func names(outs []*message.Message) (names []string) {
	for _, out := range outs {
		names = append(names, pipeline.OutputOf(out))
	}
	return names
}
