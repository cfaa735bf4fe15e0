package httpcall_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/handlers/httpcall"
	"github.com/waybill-dev/waybill/pipeline"
)

const payload = `{ "orderId":"ORD-1", "total":2500.00,	"note":"caf\u00e9" }` + "\n"

// seen is a request as the server saw it.
type seen struct {
	method, path string
	header       http.Header
	body         string
}

// warehouse is a real server that keeps what it is asked.
type warehouse struct {
	*httptest.Server
	mu   sync.Mutex
	asks []seen
}

func open(t *testing.T, answer http.HandlerFunc) *warehouse {
	t.Helper()
	w := &warehouse{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.asks = append(w.asks, seen{r.Method, r.URL.Path, r.Header.Clone(), string(body)})
		w.mu.Unlock()
		answer(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *warehouse) requests() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asks
}

func fine(http.ResponseWriter, *http.Request) {}

func TestSimulated(t *testing.T) {
	t.Parallel()

	t.Run("2-07 by default the call is simulated", func(t *testing.T) {
		t.Parallel()
		h := handlertest.Start(t, httpcall.Kind(), handlertest.Params{})
		outs, err := h.Handle(handlertest.Message(payload))
		require.NoError(t, err)
		require.Empty(t, outs)
		require.Equal(t, []string{"📦 Warehouse notified (simulated)"}, h.Log())
	})
	t.Run("2-26 simulated mode calls nobody", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		h := start(t, "mode: simulated\nsimulated_text: Told them\nurl: "+w.URL)
		handle(t, h, handlertest.Message(payload))
		require.Equal(t, []string{"Told them"}, h.Log())
		require.Empty(t, w.requests())
	})
}

func TestRequest(t *testing.T) {
	t.Parallel()

	t.Run("2-26 the warehouse is called with the order's bytes", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		handle(t, start(t, to(w)), handlertest.Message(payload,
			pipeline.MetaTraceParent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", pipeline.MetaTraceState, "a=b"))
		require.Len(t, w.requests(), 1)
		got := w.requests()[0]
		require.Equal(t, "POST", got.method)
		require.Equal(t, "/orders", got.path)
		require.Equal(t, payload, got.body)
		require.Equal(t, "application/json", got.header.Get("Content-Type"))
		require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", got.header.Get("Traceparent"))
		require.Equal(t, "a=b", got.header.Get("Tracestate"))
		require.Equal(t, "waybill", got.header.Get("User-Agent"))
	})
	t.Run("2-W5 a repeat carries the key of the first, so that the warehouse can tell", func(t *testing.T) {
		t.Parallel()
		w := open(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
		h := start(t, to(w))
		for range 3 {
			_, err := h.Handle(handlertest.Message(payload))
			require.Error(t, err)
		}
		for _, got := range w.requests() {
			require.Equal(t, "msg-1:call_http", got.header.Get("Idempotency-Key"))
		}
		require.Len(t, w.requests(), 3)
	})
	t.Run("2-41 with once the key is the order's, in whatever message it comes", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		h := start(t, to(w)+"\nonce: [/missing, /orderId]")
		other := handlertest.Message(payload, pipeline.MetaIDSource, pipeline.IDSourceContent)
		other.UUID = "msg-2"
		handle(t, h, handlertest.Message(payload))
		handle(t, h, other)
		handle(t, h, handlertest.Message("{}"))
		for i, want := range []string{"ORD-1:call_http", "ORD-1:call_http", "msg-1:call_http"} {
			require.Equal(t, want, w.requests()[i].header.Get("Idempotency-Key"))
		}
		_, err := handlertest.New(t, httpcall.Kind(), handlertest.Params{With: to(w) + "\nonce: [orderId]"})
		require.ErrorContains(t, err, "/once/0")
	})
	t.Run("a message without an id of its own has no key, since equal orders would share it", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		handle(t, start(t, to(w)), handlertest.Message(payload, pipeline.MetaIDSource, pipeline.IDSourceContent))
		handle(t, start(t, to(w)), handlertest.Message(payload, pipeline.MetaIDSource, pipeline.IDSourcePosition))
		require.NotContains(t, w.requests()[0].header, "Idempotency-Key")
		require.Contains(t, w.requests()[1].header, "Idempotency-Key")
	})
	t.Run("method and headers are settings", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte("Bearer canary-7d\n"), 0o600))
		h := handlertest.Start(t, httpcall.Kind(), handlertest.Params{Dir: dir, With: to(w) +
			"\nmethod: PUT\nheaders: {x-shop: one, content-type: text/csv}\nheader_files: {Authorization: token}"})
		handle(t, h, handlertest.Message("a;b", pipeline.MetaContentType, "text/plain"))
		got := w.requests()[0]
		require.Equal(t, "PUT", got.method)
		require.Equal(t, "one", got.header.Get("X-Shop"))
		require.Equal(t, "text/csv", got.header.Get("Content-Type"), "the config goes first")
		require.Equal(t, "Bearer canary-7d", got.header.Get("Authorization"))
		require.NotContains(t, h.LogText(), "canary")
	})
	t.Run("the content type is the message's", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		handle(t, start(t, to(w)), handlertest.Message("<a/>", pipeline.MetaContentType, "text/xml"))
		require.Equal(t, "text/xml", w.requests()[0].header.Get("Content-Type"))
	})
	t.Run("a rule gives the URL", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		h := start(t, to(w)+"\nmethod: GET\nurl_rule: '\""+w.URL+"/orders/\" + payload.orderId'")
		handle(t, h, handlertest.Message(payload))
		require.Equal(t, "/orders/ORD-1", w.requests()[0].path)
		require.Empty(t, w.requests()[0].body)
	})
	t.Run("metadata cannot smuggle headers in", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		_, err := start(t, to(w)).Handle(handlertest.Message(payload, pipeline.MetaContentType, "text/plain\r\nX-Evil: 1"))
		requireReason(t, err, pipeline.ReasonInvalid, true)
		require.Empty(t, w.requests())
	})
	t.Run("a rule cannot lead to another host", func(t *testing.T) {
		t.Parallel()
		w, other := open(t, fine), open(t, fine)
		h := start(t, to(w)+"\nurl_rule: payload.url")
		for _, url := range []string{other.URL, "file:///etc/passwd", "//" + w.URL, strings.Replace(w.URL, "http://", "http://u:p@", 1), ""} {
			_, err := h.Handle(handlertest.Message(`{"url":"` + url + `"}`))
			requireReason(t, err, pipeline.ReasonInvalid, true)
		}
		require.Empty(t, w.requests())
		require.Empty(t, other.requests())
	})
}

func TestConnections(t *testing.T) {
	t.Parallel()

	t.Run("one connection serves many calls, and is closed at the stop", func(t *testing.T) {
		t.Parallel()
		var opened atomic.Int64
		closed := make(chan struct{}, 10)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, strings.Repeat("x", 100_000))
		}))
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				opened.Add(1)
			case http.StateClosed:
				closed <- struct{}{}
			}
		}
		server.Start()
		t.Cleanup(server.Close)
		h := start(t, "mode: http\nurl: "+server.URL)
		for range 10 {
			handle(t, h, handlertest.Message(payload))
		}
		require.Equal(t, int64(1), opened.Load())
		h.Stop()
		require.Eventually(t, func() bool { return len(closed) == 1 }, 10*time.Second, time.Millisecond)
	})
	t.Run("TLS with an authority of one's own", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewTLSServer(http.HandlerFunc(fine))
		t.Cleanup(server.Close)
		server.Config.ErrorLog = nil
		dir := t.TempDir()
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600))
		h := handlertest.Start(t, httpcall.Kind(), handlertest.Params{Dir: dir, With: "mode: http\nca_file: ca.pem\nurl: " + server.URL})
		handle(t, h, handlertest.Message(payload))
	})
	t.Run("a proxy is used where the config names it", func(t *testing.T) {
		t.Parallel()
		var auth, host atomic.Value
		proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			auth.Store(r.Header.Get("Proxy-Authorization"))
			host.Store(r.Host)
		}))
		t.Cleanup(proxy.Close)
		h := start(t, "mode: http\nurl: http://warehouse.invalid/orders\nproxy: "+strings.Replace(proxy.URL, "http://", "http://u:canary@", 1))
		handle(t, h, handlertest.Message(payload))
		require.Equal(t, "warehouse.invalid", host.Load())
		require.NotEmpty(t, auth.Load())
		require.NotContains(t, h.LogText(), "canary")
	})
}

// The environment's proxy must not be used. Setenv keeps this test from
// running beside others.
func TestNoProxyFromEnvironment(t *testing.T) {
	called := atomic.Bool{}
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Store(true) }))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	_, err := start(t, "mode: http\nurl: http://warehouse.invalid/").Handle(handlertest.Message(payload))
	requireReason(t, err, pipeline.ReasonUnavailable, false)
	require.False(t, called.Load())
}

func TestResponse(t *testing.T) {
	t.Parallel()
	answer := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/xml")
		rw.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(rw, "<booked/>")
	}

	t.Run("an output gets the answer", func(t *testing.T) {
		t.Parallel()
		h := handlertest.Start(t, httpcall.Kind(), handlertest.Params{With: to(open(t, answer)), Outputs: []string{"response"}})
		outs := handle(t, h, handlertest.Message(payload, pipeline.MetaCorrelationID, "c-1", pipeline.MetaContentType, "application/json"))
		require.Len(t, outs, 1)
		require.Equal(t, "<booked/>", string(outs[0].Payload))
		require.Equal(t, "response", pipeline.OutputOf(outs[0]))
		require.Equal(t, "201", outs[0].Metadata.Get(httpcall.MetaStatus))
		require.Equal(t, "application/xml", outs[0].Metadata.Get(pipeline.MetaContentType))
		require.Equal(t, "c-1", outs[0].Metadata.Get(pipeline.MetaCorrelationID))
	})
	t.Run("without an output it is dropped, however long", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, handle(t, start(t, to(open(t, answer))+"\nmax_response: 3"), handlertest.Message(payload)))
	})
	t.Run("an output does not get half an answer", func(t *testing.T) {
		t.Parallel()
		h := handlertest.Start(t, httpcall.Kind(), handlertest.Params{With: to(open(t, answer)) + "\nmax_response: 8", Outputs: []string{""}})
		_, err := h.Handle(handlertest.Message(payload))
		requireReason(t, err, pipeline.ReasonTooLarge, true)
	})
	t.Run("an answer that breaks off is asked for again", func(t *testing.T) {
		t.Parallel()
		w := open(t, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "half")
		})
		h := handlertest.Start(t, httpcall.Kind(), handlertest.Params{With: to(w), Outputs: []string{""}})
		_, err := h.Handle(handlertest.Message(payload))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
	})
}

func TestTrouble(t *testing.T) {
	t.Parallel()

	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		w := open(t, fine)
		w.Close()
		_, err := start(t, to(w)+"?token=canary").Handle(handlertest.Message(payload))
		requireReason(t, err, pipeline.ReasonUnavailable, false)
		require.ErrorContains(t, err, w.Listener.Addr().String())
		require.NotContains(t, err.Error(), "canary", "the URL does not show")
	})
	t.Run("2-42 no answer in time is tried again", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		w := open(t, func(http.ResponseWriter, *http.Request) { <-release })
		defer close(release)
		_, err := start(t, to(w)+"\ntimeout: 100ms").Handle(handlertest.Message(payload))
		requireReason(t, err, pipeline.ReasonTimeout, false)
	})
	t.Run("a stop does not wait for the answer", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		ctx, stop := context.WithCancelCause(t.Context())
		w := open(t, func(http.ResponseWriter, *http.Request) {
			stop(pipeline.ErrStopping)
			<-release
		})
		defer close(release)
		msg := handlertest.Message(payload)
		msg.SetContext(ctx)
		_, err := start(t, to(w)+"\ntimeout: 1h").Handle(msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.False(t, pipeline.ReasonOf(err).TripsBreaker(), "it is no fault of the other side")
	})
	t.Run("an error shows what the answer says, but no secret of ours", func(t *testing.T) {
		t.Parallel()
		w := open(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusForbidden)
			token := r.Header.Get("Authorization")
			_, _ = fmt.Fprintf(rw, "not you: %s %s\n\x00%s", token, strings.TrimPrefix(token, "Bearer "), strings.Repeat("x", 10_000))
		})
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte("Bearer canary-7d"), 0o600))
		h := handlertest.Start(t, httpcall.Kind(), handlertest.Params{Dir: dir, With: to(w) + "\nheader_files: {Authorization: token}"})
		_, err := h.Handle(handlertest.Message(payload))
		require.ErrorContains(t, err, "answered 403: \"not you: <secret> <secret>")
		require.NotContains(t, err.Error(), "canary")
		require.NotContains(t, err.Error(), "\n")
		require.Less(t, len(err.Error()), 400)
		require.NotContains(t, h.LogText(), "canary")
	})
}

func to(w *warehouse) string { return "mode: http\nurl: " + w.URL + "/orders" }

func start(t *testing.T, with string) *handlertest.Handler {
	t.Helper()
	return handlertest.Start(t, httpcall.Kind(), handlertest.Params{With: with})
}
