package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/cmd/waybill/scratch"
	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/routerconfig"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// brokersUnderTest is the `brokers:` block of each broker by driver. A server
// that should be there and is not is a failure, not a skip.
func brokersUnderTest(t *testing.T) map[string]string {
	t.Helper()
	blocks := map[string]string{"embedded": "main: {driver: embedded}"}
	if !testing.Short() {
		blocks["rabbitmq"] = fmt.Sprintf("main: {driver: rabbitmq, url: %q}", needEnv(t, "RABBITMQ_URL"))
		blocks["kafka"] = fmt.Sprintf("main: {driver: kafka, url: %q}", needEnv(t, "KAFKA_BROKERS"))
	}
	return blocks
}

func needEnv(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmptyf(t, value, "%s is not set: run `make brokers`, or use -short", name)
	return value
}

// stand is an App under test, in a folder of its own.
type stand struct {
	t      *testing.T
	app    *App
	log    *syncBuffer
	client *http.Client
	config string
	kinds  pipeline.Kinds
	stop   func() error
}

// unique makes the topics of a config the test's own: "~" in it becomes a
// random text.
func unique(text string) string {
	return strings.ReplaceAll(text, "~", strings.ReplaceAll(uuid.NewString()[:8], "-", ""))
}

// begin runs an App with the config; its data folder is the test's.
func begin(t *testing.T, text string) *stand {
	t.Helper()
	s := prepareStand(t, text)
	s.open()
	return s
}

func prepareStand(t *testing.T, text string) *stand {
	t.Helper()
	s := &stand{t: t, log: &syncBuffer{}, config: filepath.Join(t.TempDir(), "waybill.yaml"), kinds: handlers.Builtin()}
	require.NoError(t, os.WriteFile(s.config, []byte(text), 0o600))
	t.Cleanup(s.clear)
	return s
}

// clear removes what the test has made on servers: a thousand queues that
// nobody reads slow down all tests after it.
func (s *stand) clear() {
	loaded, err := routerconfig.Load(s.config, routerconfig.Options{Kinds: s.kinds})
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err = scratch.RemoveAll(ctx, loaded.Pipeline)
	}
	if err != nil {
		s.t.Logf("not all is removed: %v", err) // a server of the test's own is gone, say
	}
}

func (s *stand) data() string { return filepath.Join(filepath.Dir(s.config), "data") }

// open runs the App until it is ready; after a stop, again.
func (s *stand) open() {
	s.t.Helper()
	s.launch()
	s.awaitReady()
}

func (s *stand) awaitReady() {
	s.t.Helper()
	s.eventually(func() bool { status, _ := s.get("/ready"); return status == http.StatusOK }, "it is ready")
}

func (s *stand) launch() {
	t := s.t
	t.Helper()
	loaded, err := routerconfig.Load(s.config, routerconfig.Options{
		Kinds: s.kinds, Set: []string{"data=" + s.data(), `http.listen="off"`},
	})
	require.NoError(t, err)
	s.app, err = New(loaded.Pipeline, Options{
		Kinds: s.kinds,
		Log:   slog.New(identified{slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo})}),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.app.Run(ctx, context.Background()) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = s.stop() }) // tests that care have stopped it
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.data(), "waybill.sock"))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport}
}

// run is a command line on the stand's config and data folder.
func (s *stand) run(in string, args ...string) (code int, out, errs string) {
	var o, e syncBuffer
	args = append(args, "--config", s.config, "--set", "data="+s.data())
	code = execute(context.Background(), context.Background(), &interrupts{}, Options{Kinds: s.kinds}, args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func (s *stand) eventually(ok func() bool, what string) {
	s.t.Helper()
	require.Eventuallyf(s.t, ok, patience, 10*time.Millisecond, "waited in vain: %s\n%s", what, s.log)
}

func (s *stand) get(path string) (int, string) {
	res, err := s.client.Get("http://waybill" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

// publish posts a message and returns its id.
func (s *stand) publish(topic string, payload string, header ...string) string {
	s.t.Helper()
	status, text := s.post(topic, payload, header...)
	require.Equal(s.t, http.StatusAccepted, status, text)
	var answer struct {
		ID string `json:"id"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(text), &answer))
	return answer.ID
}

func (s *stand) post(topic string, payload string, header ...string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://waybill/api/v1/topics/"+topic+"/messages", strings.NewReader(payload))
	require.NoError(s.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.client.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return res.StatusCode, string(text)
}

// watch taps a topic; the returned function waits for the next n messages.
func (s *stand) watch(topic string) func(n int) []dashboard.Message {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://waybill/api/v1/topics/"+topic+"/messages", nil)
	require.NoError(s.t, err)
	res, err := s.client.Do(req) //nolint:bodyclose // closed in the cleanup
	require.NoError(s.t, err)
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		require.Failf(s.t, res.Status, "%s", text)
	}
	seen := make(chan dashboard.Message, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for line, err := range lines(res.Body) {
			if err != nil {
				return // the test has ended
			}
			var m dashboard.Message
			if json.Unmarshal(line, &m) == nil {
				seen <- m
			}
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		_ = res.Body.Close()
		<-done
	})
	return func(n int) []dashboard.Message {
		s.t.Helper()
		var all []dashboard.Message
		for len(all) < n {
			select {
			case m := <-seen:
				all = append(all, m)
			case <-time.After(patience):
				require.Failf(s.t, "waited in vain", "%d of %d messages on %s: %v\n%s", len(all), n, topic, all, s.log)
			}
		}
		return all
	}
}

// syncBuffer is a log that is written and read at once.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
