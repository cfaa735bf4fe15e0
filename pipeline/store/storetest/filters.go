package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// payloads are what filters trip over.
var payloads = []string{
	`{"id": "A1", "n": 1.50, "big": 12345678901234567890, "e": 1e2, "t": true, "z": null, "a": [10, "x", {"k": "v"}]}`,
	`{"id": "caf\u00e9 \/ \"q\"", "0": "zero", "01": "one", "-1": "minus", "a/b": "slash", "m~n": "tilde", "": "empty", "it's": "quote"}`,
	`{"id": "A1", "id": "twice"}`,
	`{"id": "nul \u0000"}`,
	`{"id": "half \ud800"}`,
	`["first", "second", ["deep"]]`,
	`"just a string"`,
	`42`,
	`{"id": "A1"} trailing`,
	`{"id": "A1"`,
	"plain Text, not JSON",
	"latin \xe9\xff",
	"with \x00 NUL and Text",
	"",
	`{"-1": [1, 5], "01": {"-1": [["x"]]}}`,
	`{"o": {"01": {"x": "in"}, "-1": 5}, "l": [["p", "q"]]}`,
}

var paths = []string{
	"", "/id", "/n", "/big", "/e", "/t", "/z", "/a", "/a/0", "/a/1", "/a/2/k", "/a/-1", "/a/01", "/a/+1", "/0", "/01", "/-1", "/1",
	"/a~1b", "/m~0n", "/", "/it's", "/2/0", "/o/01/x", "/o/-1", "/l/0/1", "/l/0/-1", "/l/-1/0", "/missing/deep",
	"/-1/-1", "/-1/1", "/01/-1", "/01/-1/0/0", "/01/-1/00/0", "/99999999999999999999", "/ 1", "/1e0",
}

var values = []string{
	"A1", "1.50", "1.5", "100", "1e2", "true", "10", "x", "v", "zero", "slash", "quote", "first", "café / \"q\"", "tEXT", "text",
	"303", "\\", "É", "Ã", "", "42", "t-1", "k-1", "m-1", "m-", "false", "50%", "_", "DEAD", "ARCHIVED", "503", "é", "5",
}

func anyFilter(depth int) *rapid.Generator[store.Filter] {
	return rapid.Custom(func(r *rapid.T) store.Filter {
		kinds := []string{"text", "field", "header", "pointer", "time"}
		if depth > 0 {
			kinds = append(kinds, "and", "or", "not")
		}
		op := rapid.SampledFrom([]store.Op{"", store.Equals, store.Prefix, store.Contains, store.Exists})
		value := rapid.SampledFrom(values)
		inner := func() *rapid.Generator[store.Filter] { return anyFilter(depth - 1) }
		switch rapid.SampledFrom(kinds).Draw(r, "kind") {
		case "and":
			return store.And(rapid.SliceOfN(inner(), 1, 3).Draw(r, "and")...)
		case "or":
			return store.Or(rapid.SliceOfN(inner(), 1, 3).Draw(r, "or")...)
		case "not":
			return store.Not(inner().Draw(r, "not"))
		case "text":
			return store.Filter{Field: store.FieldText, Value: value.Draw(r, "value")}
		case "header":
			name := rapid.SampledFrom([]string{"tenant", "content-type", "a/b~c", "it's", "none", ""}).Draw(r, "name")
			return store.Filter{Field: store.FieldHeader, Name: name, Op: op.Draw(r, "op"), Value: value.Draw(r, "value")}
		case "pointer":
			return store.Filter{Field: store.FieldPointer, Name: rapid.SampledFrom(paths).Draw(r, "path"), Op: op.Draw(r, "op"), Value: value.Draw(r, "value")}
		case "time":
			at := time.Date(2026, 2, 1, 8, 0, rapid.IntRange(0, len(payloads)).Draw(r, "second"), 1000, time.UTC)
			return store.Filter{Field: store.FieldTime, Op: rapid.SampledFrom([]store.Op{store.Since, store.Before}).Draw(r, "op"), Value: at.Format(time.RFC3339Nano)}
		}
		return store.Filter{
			Field: rapid.SampledFrom([]store.Field{
				store.FieldMessage, store.FieldHandler, store.FieldTopic, store.FieldKey, store.FieldCorrelation, store.FieldState,
				store.FieldReason, store.FieldError, store.FieldErrorType, store.FieldFingerprint, store.FieldParked,
			}).Draw(r, "field"), Op: op.Draw(r, "op"), Value: value.Draw(r, "value"),
		}
	})
}

func record(l store.DeadLetter) *store.Record {
	return &store.Record{
		Texts: map[store.Field]string{
			store.FieldMessage: l.Message, store.FieldHandler: l.Handler, store.FieldTopic: l.Topic, store.FieldKey: l.Key,
			store.FieldCorrelation: l.Correlation, store.FieldState: string(l.State), store.FieldReason: string(l.Reason),
			store.FieldError: l.Error, store.FieldErrorType: l.ErrorType, store.FieldFingerprint: l.Fingerprint,
			store.FieldParked: strconv.FormatBool(l.Parked),
		},
		Time: l.Last, Content: l.Content,
	}
}

func filters(t *testing.T, h Harness) {
	s, _ := h.fresh(t)
	var letters []store.DeadLetter
	for n, payload := range payloads {
		l := letter(n)
		l.Payload = []byte(payload)
		if n%3 == 0 {
			l.Headers = map[string]string{"a/b~c": "x", "it's": "quote", "": "empty", "bytes": "\xff\x00"}
		}
		l.Parked = n%4 == 1
		if n == 4 {
			l.Error, l.Reason = "", pipeline.ReasonInvalid
		}
		letters = append(letters, bury(t, s, l)[0])
	}
	do(t, s, s.MoveLetter(store.Move{ID: letters[2].ID, To: store.Archived}))
	letters[2].State = store.Archived

	check := func(t require.TestingT, f store.Filter) {
		var want []string
		for _, l := range slices.Backward(letters) {
			if f.Match(record(l)) {
				want = append(want, l.Message)
			}
		}
		page, err := s.Letters(ctx, store.LetterQuery{Filter: f})
		require.NoError(t, err)
		var got []string
		for _, l := range page.Letters {
			got = append(got, l.Message)
		}
		require.Equal(t, want, got, "%+v", f)
		n, err := s.CountLetters(ctx, f)
		require.NoError(t, err)
		require.Len(t, want, int(n))
	}

	t.Run("EveryPointer", func(t *testing.T) {
		t.Parallel()
		for _, path := range paths {
			check(t, store.Filter{Field: store.FieldPointer, Name: path, Op: store.Exists})
			for _, value := range values {
				check(t, store.Filter{Field: store.FieldPointer, Name: path, Value: value})
			}
		}
	})
	t.Run("EveryText", func(t *testing.T) {
		t.Parallel()
		for _, value := range values {
			check(t, store.Filter{Field: store.FieldText, Value: value})
		}
	})
	t.Run("RandomTrees", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(r *rapid.T) { check(r, anyFilter(3).Draw(r, "filter")) })
	})
	t.Run("Nonsense", func(t *testing.T) {
		t.Parallel()
		deep := store.Filter{}
		for range store.MaxFilterDepth + 1 {
			deep = store.Not(deep)
		}
		for i, f := range []store.Filter{
			{Field: "colour"},
			{Field: store.FieldPointer, Name: "id"},
			{Field: store.FieldTime, Value: "now"},
			{Field: store.FieldTime, Op: store.Since, Value: "yesterday"},
			{Field: store.FieldText, Op: store.Prefix},
			{Field: store.FieldKey, Op: store.Since},
			{Field: store.FieldKey, Value: "\xff"},
			{Field: store.FieldKey, Value: "a\x00"},
			{Field: store.FieldKey, Name: "x"},
			{Op: store.Equals},
			{Field: store.FieldKey, And: []store.Filter{{}}},
			deep,
		} {
			_, err := s.Letters(t.Context(), store.LetterQuery{Filter: f})
			require.ErrorIs(t, err, store.ErrInvalid, fmt.Sprint(i))
		}
	})
}
