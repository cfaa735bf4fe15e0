package view_test

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/pipeline"
)

func TestView(t *testing.T) {
	t.Parallel()
	v := of(" {\"a\": {\"b\": \"text\"}}\r\n", "k", "meta")

	when, err := view.CompileBool(`payload.a.b == "text" and meta.k == "meta" and meta.none == nil`)
	require.NoError(t, err)
	yes, err := v.Bool(when)
	require.NoError(t, err)
	require.True(t, yes)

	text, err := view.Compile(`payload.a.b + meta.k`)
	require.NoError(t, err)
	got, err := v.Text(text)
	require.NoError(t, err)
	require.Equal(t, "textmeta", got)
}

func TestView_Errors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ payload, source string }{
		"not JSON":       {`order`, `payload.a`},
		"nothing":        {``, `payload.a`},
		"trailing text":  {`{} {}`, `payload.a`},
		"a member twice": {`{"a":1,"a":2}`, `payload.b`},
		"not UTF-8":      {"{\"a\":\"\xff\"}", `payload.b`},
		"no text":        {`{"a":1}`, `payload.a`},
		"nil":            {`{}`, `payload.a`},
		"a failing rule": {`{"a":"x"}`, `payload.a - 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := view.Compile(tc.source)
			require.NoError(t, err)
			_, err = of(tc.payload).Text(p)
			require.True(t, pipeline.IsPermanent(err), "%v", err)
			require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
			require.ErrorContains(t, err, tc.source, "it names the rule")
		})
	}
}

func TestCompile_KnowsTwoNames(t *testing.T) {
	t.Parallel()
	_, err := view.Compile(`order.id`)
	require.ErrorContains(t, err, "order")
	_, err = view.CompileBool(`1`)
	require.Error(t, err)
}

func of(payload string, metadata ...string) *view.View {
	msg := message.NewMessage("id", []byte(payload))
	for i := 0; i < len(metadata); i += 2 {
		msg.Metadata.Set(metadata[i], metadata[i+1])
	}
	return view.Of(msg)
}
