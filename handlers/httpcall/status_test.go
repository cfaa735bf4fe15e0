package httpcall_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/handlers/httpcall"
	"github.com/waybill-dev/waybill/pipeline"
)

// want is what the default table makes of a status.
func want(status int) (reason pipeline.Reason, permanent bool) {
	switch {
	case status < 300, status == 409:
		return "", false
	case status == 429:
		return pipeline.ReasonThrottled, false
	case status == 408, status == 425, status >= 500:
		return pipeline.ReasonUnavailable, false
	}
	return pipeline.ReasonRejected, true
}

func TestStatus_Table(t *testing.T) {
	t.Parallel()
	w := open(t, byID(nil))
	h := start(t, to(w))
	for status := 200; status <= 599; status++ {
		t.Run(fmt.Sprintf("2-42 status %d", status), func(t *testing.T) {
			t.Parallel()
			_, err := h.Handle(asking(status))
			reason, permanent := want(status)
			if reason == "" {
				require.NoError(t, err)
				return
			}
			requireReason(t, err, reason, permanent)
			require.ErrorContains(t, err, strconv.Itoa(status))
		})
	}
}

func TestStatus_Overrides(t *testing.T) {
	t.Parallel()
	w := open(t, byID(nil))
	h := start(t, to(w)+"\nstatus: {409: dead, 404: retry, 3xx: ok, 5xx: dead, 503: retry}")
	for status, want := range map[int]pipeline.Reason{
		200: "",
		302: "",
		404: pipeline.ReasonUnavailable,
		409: pipeline.ReasonRejected,
		500: pipeline.ReasonRejected,
		503: pipeline.ReasonUnavailable,
		400: pipeline.ReasonRejected,
	} {
		t.Run(fmt.Sprintf("2-42 the config overrules status %d", status), func(t *testing.T) {
			t.Parallel()
			_, err := h.Handle(asking(status))
			if want == "" {
				require.NoError(t, err)
				return
			}
			requireReason(t, err, want, want == pipeline.ReasonRejected)
		})
	}
}

func TestStatus_RedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	other := open(t, fine)
	w := open(t, byID(http.Header{"Location": {other.URL}}))
	_, err := start(t, to(w)).Handle(asking(http.StatusTemporaryRedirect))
	requireReason(t, err, pipeline.ReasonRejected, true)
	require.Empty(t, other.requests())
}

func TestStatus_RetryAfter(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
	past := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	for name, tc := range map[string]struct {
		status   int
		header   string
		from, to time.Duration // bounds of the wait; 0: none is asked for
	}{
		"in seconds":         {429, "7", 7 * time.Second, 7 * time.Second},
		"with space":         {503, " 120 ", 2 * time.Minute, 2 * time.Minute},
		"also with 500":      {500, "3", 3 * time.Second, 3 * time.Second},
		"a date":             {429, soon, 59 * time.Minute, time.Hour},
		"a date in the past": {503, past, 0, 0},
		"no seconds":         {503, "0", 0, 0},
		"less than none":     {503, "-5", 0, 0},
		"a word":             {503, "later", 0, 0},
		"nothing":            {503, "", 0, 0},
		"years":              {503, "999999999", 24 * time.Hour, 24 * time.Hour},
		"beyond a number":    {503, "99999999999999999999", 0, 0},
		"a date far away":    {503, "Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour, 24 * time.Hour},
	} {
		t.Run("2-42 Retry-After: "+name, func(t *testing.T) {
			t.Parallel()
			w := open(t, byID(http.Header{"Retry-After": {tc.header}}))
			_, err := start(t, to(w)).Handle(asking(tc.status))
			reason, _ := want(tc.status)
			requireReason(t, err, reason, false)
			wait, asked := pipeline.RetryDelay(err)
			require.Equal(t, tc.to > 0, asked)
			require.GreaterOrEqual(t, wait, tc.from)
			require.LessOrEqual(t, wait, tc.to)
		})
	}
	t.Run("2-42 a permanent failure does not wait", func(t *testing.T) {
		t.Parallel()
		w := open(t, byID(http.Header{"Retry-After": {"7"}}))
		_, err := start(t, to(w)).Handle(asking(http.StatusBadRequest))
		_, asked := pipeline.RetryDelay(err)
		require.False(t, asked)
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ with, want string }{
		"mode":              {"mode: post", `/mode: "post" is not one of simulated, http`},
		"no url":            {"mode: http", "/url: a URL with http:// or https://"},
		"another scheme":    {"url: ftp://h/", "/url: a URL"},
		"password in url":   {"url: http://u:canary@h/", "/url: user and password do not belong into the URL"},
		"broken url":        {"url: 'http://canary%zz'", "/url: a URL"},
		"url_rule":          {"url_rule: order.id", "/url_rule: "},
		"method":            {"method: FETCH", `/method: "FETCH" is not one of`},
		"timeout":           {"timeout: 0s", "/timeout: must be above 0"},
		"max_response":      {"max_response: 0", "/max_response: must be above 0"},
		"proxy":             {"proxy: 'ftp://u:canary@h'", "/proxy: a URL"},
		"header name":       {"headers: {'a b': c}", `/headers/a b: "a b" is not the name of a header`},
		"header value":      {`headers: {a: "b\r\nc: d"}`, "/headers/a: a header has no line breaks"},
		"our header":        {"headers: {idempotency-key: x}", "/headers/idempotency-key: idempotency-key is set by Waybill"},
		"our secret header": {"header_files: {host: x}", "/header_files/host: host is set by Waybill"},
		"header file":       {"mode: http\nurl: http://h/\nheader_files: {a: none}", "no such file"},
		"status":            {"status: {abc: ok}", `/status/abc: "abc" is neither a status`},
		"status 100":        {"status: {100: ok}", "/status/100: "},
		"class":             {"status: {9xx: ok}", "/status/9xx: "},
		"action":            {"status: {404: ignore}", `/status/404: "ignore" is not one of ok, retry, dead`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := handlertest.New(t, httpcall.Kind(), handlertest.Params{With: tc.with, Dir: t.TempDir()})
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "canary")
		})
	}
	require.Empty(t, httpcall.NewConfig().Validate(), "the defaults are right")
}

// byID answers with the status that the request's key begins with.
func byID(header http.Header) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.Header.Get("Idempotency-Key"), "%d:", &status)
		for name, values := range header {
			rw.Header()[name] = values
		}
		rw.WriteHeader(status)
	}
}

func asking(status int) *message.Message {
	msg := handlertest.Message(payload)
	msg.UUID = strconv.Itoa(status)
	return msg
}

func handle(t *testing.T, h *handlertest.Handler, msg *message.Message) []*message.Message {
	t.Helper()
	outs, err := h.Handle(msg)
	require.NoError(t, err)
	return outs
}

func requireReason(t *testing.T, err error, reason pipeline.Reason, permanent bool) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, reason, pipeline.ReasonOf(err), "%v", err)
	require.Equal(t, permanent, pipeline.IsPermanent(err), "%v", err)
}
