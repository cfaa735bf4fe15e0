package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stub is a broker whose answers a test chooses. The real ones are behind
// this API in the app's tests.
type stub struct {
	broker.Broker
	health broker.Health
	refuse func(*message.Message) error
	kept   []*message.Message
	feed   func(ctx context.Context, opts broker.TailOptions, each func(*message.Message) error) error
}

func (s *stub) Health() broker.Health                                        { return s.health }
func (s *stub) Publisher() message.Publisher                                 { return s }
func (s *stub) Start(string, *message.Message, pipeline.Confirmer, int) bool { return false }
func (s *stub) Close() error                                                 { return nil }

func (s *stub) Publish(_ string, msgs ...*message.Message) error {
	errs := make([]error, len(msgs))
	for i, msg := range msgs {
		if s.refuse != nil {
			errs[i] = s.refuse(msg)
		}
		if errs[i] == nil {
			s.kept = append(s.kept, msg)
		}
	}
	return broker.PublishFailed(errs)
}

func (s *stub) Tail(ctx context.Context, _ pipeline.Topic, opts broker.TailOptions, each func(*message.Message) error) error {
	return s.feed(ctx, opts, each)
}

func surface(s *stub, problems ...string) http.Handler {
	return New(Options{
		Version: "1.2.3", Config: "abc", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Topic: func(name string) (pipeline.Topic, bool) {
			return pipeline.Topic{Name: name, Broker: "main"}, name == "orders"
		},
		Broker:   func(string) (broker.Broker, bool) { return s, true },
		Problems: func() []string { return problems },
		Inspect:  func(context.Context) ([]Report, error) { return []Report{{Broker: "main", Connected: true}}, nil },
	})
}

// ask returns the answer to "METHOD /path", with the headers given in pairs.
func ask(t *testing.T, h http.Handler, what, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	method, path, _ := strings.Cut(what, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const messages = "/api/v1/topics/orders/messages"

func TestPublish(t *testing.T) {
	t.Parallel()
	t.Run("the body is the payload, byte for byte, and headers become id, key and metadata", func(t *testing.T) {
		t.Parallel()
		s := &stub{}
		body := "{\"a\": 1.0}\n\xff"
		w := ask(t, surface(s), "POST "+messages+"?key=k1", body, "Idempotency-Key", "id-1", "ce-id", "id-2",
			"Content-Type", "application/json", "Waybill-Meta-Shop", "north")
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		require.JSONEq(t, `{"id":"id-1"}`, w.Body.String())
		require.Len(t, s.kept, 1)
		require.Equal(t, body, string(s.kept[0].Payload))
		require.Equal(t, "id-1", s.kept[0].UUID)
		require.Equal(t, message.Metadata{"partitionkey": "k1", "content-type": "application/json", "shop": "north"}, s.kept[0].Metadata)
	})
	t.Run("ce-id is the id where there is no Idempotency-Key, and without both it is new", func(t *testing.T) {
		t.Parallel()
		s := &stub{}
		ask(t, surface(s), "POST "+messages, "x", "ce-id", "id-2")
		ask(t, surface(s), "POST "+messages, "x")
		require.Equal(t, "id-2", s.kept[0].UUID)
		require.Len(t, s.kept[1].UUID, 36)
	})
	for name, c := range map[string]struct {
		topic  string
		err    error
		health broker.Health
		status int
		says   string
	}{
		"404 of a topic that is not in the config": {topic: "nowhere", status: 404, says: "waybill echo"},
		"413 of a message over the limit": {
			err: pipeline.Permanent(pipeline.WithReason(errors.New("over max_message"), pipeline.ReasonTooLarge)), status: 413, says: "max_message",
		},
		"503 while the broker refuses publishes": {health: broker.Health{Connected: true, Blocked: "low on memory"}, status: 503, says: "low on memory"},
		"503 of a broker that is away": {
			err: pipeline.WithReason(errors.New("connection refused"), pipeline.ReasonUnavailable), status: 503, says: "connection refused",
		},
		"503 where nobody knows whether it was kept": {err: pipeline.WithReason(errors.New("not confirmed"), pipeline.ReasonTimeout), status: 503, says: "not confirmed"},
		"500 of what should not happen":              {err: errors.New("odd"), status: 500, says: "odd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stub{health: c.health, refuse: func(*message.Message) error { return c.err }}
			topic := c.topic
			if topic == "" {
				topic = "orders"
			}
			w := ask(t, surface(s), "POST /api/v1/topics/"+topic+"/messages", "x")
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.says)
			require.Equal(t, c.status == 503, w.Header().Get("Retry-After") != "")
			require.Empty(t, s.kept)
		})
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	const batch = "POST /api/v1/topics/orders/batch"
	t.Run("each message has its own result, in their order", func(t *testing.T) {
		t.Parallel()
		s := &stub{refuse: func(msg *message.Message) error {
			if msg.UUID == "b" {
				return pipeline.WithReason(errors.New("no"), pipeline.ReasonUnavailable)
			}
			return nil
		}}
		w := ask(t, surface(s), batch, `{"messages":[{"id":"a","payload":"1","key":"k","metadata":{"m":"v"}},{"id":"b","payload":"2"},{"id":"c","payload_base64":"/w=="}]}`)
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		var got struct{ Results []BatchResult }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Len(t, got.Results, 3)
		require.Equal(t, BatchResult{ID: "a"}, got.Results[0])
		require.Equal(t, pipeline.ReasonUnavailable, got.Results[1].Reason)
		require.Equal(t, []byte{0xff}, []byte(s.kept[1].Payload))
		require.Equal(t, message.Metadata{"partitionkey": "k", "m": "v"}, s.kept[0].Metadata)
	})
	for name, body := range map[string]string{
		"two payloads":              `{"messages":[{"payload":"1","payload_base64":"MQ=="}]}`,
		"no payload":                `{"messages":[{"id":"1"}]}`,
		"no messages":               `{"messages":[]}`,
		"bytes that are not a text": "{\"messages\":[{\"payload\":\"\xff\"}]}",
	} {
		t.Run(name+" are refused as a whole", func(t *testing.T) {
			t.Parallel()
			s := &stub{}
			require.Equal(t, http.StatusUnprocessableEntity, ask(t, surface(s), batch, body).Code)
			require.Empty(t, s.kept)
		})
	}
}

func TestTail(t *testing.T) {
	t.Parallel()
	t.Run("a line of JSON a message; a payload that is not UTF-8 comes as base64", func(t *testing.T) {
		t.Parallel()
		s := &stub{feed: func(_ context.Context, opts broker.TailOptions, each func(*message.Message) error) error {
			require.True(t, opts.Oldest)
			for _, payload := range []string{"text", "\xff"} {
				if err := each(message.NewMessage("id", []byte(payload))); err != nil {
					return err
				}
			}
			return nil
		}}
		w := ask(t, surface(s), "GET "+messages+"?from=oldest", "")
		require.Equal(t, http.StatusOK, w.Code)
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		require.Len(t, lines, 2)
		require.JSONEq(t, `{"id":"id","topic":"orders","key":"","metadata":{},"payload":"text"}`, lines[0])
		require.JSONEq(t, `{"id":"id","topic":"orders","key":"","metadata":{},"payload_base64":"/w=="}`, lines[1])
	})
	t.Run("what cannot be watched is an error and no empty stream", func(t *testing.T) {
		t.Parallel()
		s := &stub{feed: func(context.Context, broker.TailOptions, func(*message.Message) error) error {
			return pipeline.Permanent(errors.New("somebody consumes it"))
		}}
		w := ask(t, surface(s), "GET "+messages, "")
		require.Equal(t, http.StatusConflict, w.Code)
		require.Contains(t, w.Body.String(), "somebody consumes it")
	})
	t.Run("a client that goes ends the feed", func(t *testing.T) {
		t.Parallel()
		ended := make(chan struct{})
		s := &stub{feed: func(ctx context.Context, opts broker.TailOptions, _ func(*message.Message) error) error {
			defer close(ended)
			opts.Ready()
			<-ctx.Done()
			return ctx.Err()
		}}
		server := httptest.NewServer(surface(s))
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+messages, nil)
		require.NoError(t, err)
		answer, err := server.Client().Do(r)
		require.NoError(t, err)
		cancel()
		_, _ = io.Copy(io.Discard, answer.Body)
		require.NoError(t, answer.Body.Close())
		<-ended
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	require.Equal(t, "pong\n", ask(t, surface(&stub{}), "GET /ping", "").Body.String())
	require.Equal(t, http.StatusOK, ask(t, surface(&stub{}), "GET /ready", "").Code)
	w := ask(t, surface(&stub{}, "handler a is held", "broker b is away"), "GET /ready", "")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "handler a is held\nbroker b is away\n", w.Body.String())
	require.Equal(t, http.StatusOK, ask(t, surface(&stub{}), "GET /metrics", "").Code)
	require.JSONEq(t, `{"version":"1.2.3","config":"abc"}`, ask(t, surface(&stub{}), "GET /api/v1/version", "").Body.String())
	require.Contains(t, ask(t, surface(&stub{}), "GET /api/v1/doctor", "").Body.String(), `"connected":true`)
	require.Contains(t, ask(t, surface(&stub{}), "GET /api/v1/openapi.yaml", "").Body.String(), "publish-message")
}

func TestAccess(t *testing.T) {
	t.Parallel()
	t.Run("with a token all but /ping and /ready ask for it", func(t *testing.T) {
		t.Parallel()
		h := WithToken(surface(&stub{}), "s3cret")
		for path, want := range map[string]int{"/ping": 200, "/ready": 200, "/metrics": 401, "/api/v1/version": 401} {
			require.Equal(t, want, ask(t, h, "GET "+path, "").Code, path)
			require.Equal(t, want, ask(t, h, "GET "+path, "", "Authorization", "Bearer s3cre").Code, path)
			w := ask(t, h, "GET "+path, "", "Authorization", "Bearer s3cret")
			require.Equal(t, 200, w.Code, path)
			require.NotContains(t, w.Body.String(), "s3cret")
		}
	})
	t.Run("without one, names other than localhost are refused", func(t *testing.T) {
		t.Parallel()
		h := OnlyLocal(surface(&stub{}))
		for host, want := range map[string]int{
			"localhost": 200, "localhost:8080": 200, "127.0.0.1:8080": 200, "[::1]:8080": 200, "evil.example": 421, "localhost.evil.example:8080": 421,
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ping", nil)
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, want, w.Code, host)
		}
	})
	t.Run("a page of another site cannot publish", func(t *testing.T) {
		t.Parallel()
		s := &stub{}
		w := ask(t, surface(s), "POST "+messages, "x", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
		require.Equal(t, http.StatusForbidden, w.Code, fmt.Sprint(w.Body))
		require.Empty(t, s.kept)
	})
}
