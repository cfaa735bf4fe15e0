package dashboard

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

var hostile = rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 30), func(b []byte) string { return string(b) })

// TestLetterEvent_EveryByteComesBack: what is exported is a CloudEvent, and
// imported it is the same letter, whatever bytes it has.
func TestLetterEvent_EveryByteComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		text := rapid.String()
		at := time.UnixMicro(rapid.Int64Range(1, 1<<50).Draw(r, "first")).UTC()
		want := store.DeadLetter{
			Handler: "prepare", Message: "m" + hostile.Draw(r, "id"), Key: hostile.Draw(r, "key"), Correlation: hostile.Draw(r, "correlation"),
			Topic: text.Draw(r, "topic"), Subscription: text.Draw(r, "subscription"), Partition: rapid.Int32().Draw(r, "partition"),
			Offset: rapid.Int64Range(-1, 1<<60).Draw(r, "offset"), Reason: rapid.SampledFrom(pipeline.Reasons()).Draw(r, "reason"),
			Error: text.Draw(r, "error"), ErrorType: text.Draw(r, "type"), Stack: text.Draw(r, "stack"), Fingerprint: "f" + rapid.StringN(0, 20, 60).Draw(r, "print"),
			Attempts: rapid.IntRange(0, 100).Draw(r, "attempts"), Replays: rapid.IntRange(0, 9).Draw(r, "replays"), Parked: rapid.Bool().Draw(r, "parked"),
			First: at, Last: at.Add(time.Second), Copy: "c" + hostile.Draw(r, "copy"),
			Content: store.Content{Headers: rapid.MapOf(hostile, hostile).Draw(r, "headers"), Payload: rapid.SliceOf(rapid.Byte()).Draw(r, "payload")},
		}
		event, err := newLetterEvent(want)
		require.NoError(r, err)
		line, err := json.Marshal(event)
		require.NoError(r, err)
		require.NotContains(r, string(line), "\n")
		got, err := parseEvent(line)
		require.NoError(r, err)
		require.Equal(r, string(want.Payload), string(got.Payload))
		got.Payload = want.Payload // nil and empty are the same bytes
		require.Equal(r, want, got)

		var attributes map[string]any
		require.NoError(r, json.Unmarshal(line, &attributes))
		for name, value := range attributes { // CloudEvents: names of lower-case letters and digits, at most 20; no objects
			require.Regexp(r, `^([a-z0-9]{1,20}|data_base64)$`, name)
			require.NotContains(r, []string{"map[string]interface {}", "[]interface {}"}, typeOf(value), name)
		}
		for _, name := range []string{"id", "source", "specversion", "type", "time"} {
			require.NotEmpty(r, attributes[name], name)
		}
	})
}

func typeOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "map[string]interface {}"
	case []any:
		return "[]interface {}"
	}
	return ""
}

// TestContent_EveryByteComesBack: as the API shows and takes it.
func TestContent_EveryByteComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		want := store.Content{Headers: rapid.MapOf(hostile, hostile).Draw(r, "headers"), Payload: []byte(hostile.Draw(r, "payload"))}
		text, err := json.Marshal(NewContent(want))
		require.NoError(r, err)
		var got Content
		require.NoError(r, json.Unmarshal(text, &got))
		require.NoError(r, got.check())
		require.Equal(r, want, got.Content())
	})
}

// TestParseEvent_Refused: what is no dead letter says why.
func TestParseEvent_Refused(t *testing.T) {
	t.Parallel()
	for line, why := range map[string]string{
		`no JSON`: "invalid", `{}`: "specversion", `{"specversion":"1.0"}`: "no id", `{"specversion":"1.0","id":"1"}`: "dlhandler",
		`{"specversion":"1.0","id":"1","dlhandler":"h","dlheaders":"["}`: "dlheaders",
		`{"specversion":"1.0","id":"1","dlhandler":"h","dlraw":"Ww=="}`:  "dlraw",
	} {
		_, err := parseEvent([]byte(line))
		require.ErrorContains(t, err, why, line)
	}
	l, err := parseEvent([]byte(`{"specversion":"1.0","id":"1","dlhandler":"h","source":"/others","type":"x","time":"2026-02-01T08:00:00Z","data_base64":"eA=="}`))
	require.NoError(t, err, "others can write one")
	require.Equal(t, pipeline.ReasonInternal, l.Reason)
	require.Equal(t, int64(-1), l.Offset)
	require.Equal(t, "2026-02-01T08:00:00Z", l.Last.Format(time.RFC3339))
	require.NotEmpty(t, l.Copy)
}
