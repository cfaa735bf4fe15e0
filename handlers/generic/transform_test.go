package generic_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/generic"
)

func TestTransform(t *testing.T) {
	t.Parallel()
	meta := map[string]string{"shop": "x"}
	for source, want := range map[string]string{
		`{"id": payload.id, "from": meta.shop, "total": payload.total}`: `{"from":"x","id":"1","total":2960.10}`,
		` /total = payload.total * 2`:                                   `{ "id":"1", "total":5920.20, "big":12345678901234567890, "tags":["a","b"] }` + "\n",
		`/tags/1 = meta.shop == "x" ? "=" : "!="`:                       `{ "id":"1", "total":2960.10, "big":12345678901234567890, "tags":["a","="] }` + "\n",
	} {
		tr, err := generic.CompileTransform(source)
		require.NoError(t, err)
		given := []byte(payload)
		got, err := tr.Payload(meta, given)
		require.NoError(t, err)
		require.Equal(t, want, string(got), source)
		require.Equal(t, payload, string(given), "the original is not touched")
	}
	for source, says := range map[string]string{
		`/gone = 1`:    "no value at /gone",
		`payload.id.x`: "payload.id.x",
	} {
		tr, err := generic.CompileTransform(source)
		require.NoError(t, err)
		_, err = tr.Payload(meta, []byte(payload))
		require.ErrorContains(t, err, says)
	}
	tr, err := generic.CompileTransform(`payload.id`)
	require.NoError(t, err)
	_, err = tr.Payload(meta, []byte("no JSON"))
	require.ErrorContains(t, err, "not valid JSON")
	for _, source := range []string{"/total", "/~2 = 1", "/total = ", "payload.", ""} {
		_, err := generic.CompileTransform(source)
		require.Error(t, err, source)
	}
}
