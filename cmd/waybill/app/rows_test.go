package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/routerconfig"
)

// passing is a pipeline of one map from in-~ to out-~.
const passing = `
brokers: {%s}
topics:
  in-~: {broker: main}
  out-~: {broker: main}
handlers:
  work: {kind: map, from: in-~, to: out-~, %s}
`

func topics(config string) (in, out string) {
	_, after, _ := strings.Cut(config, "in-")
	return "in-" + after[:8], "out-" + after[:8]
}

// processed is how many messages the handler "work" is done with.
func (s *stand) processed(outcome string) string {
	_, text := s.get("/metrics")
	_, after, _ := strings.Cut(text, fmt.Sprintf(`waybill_messages_processed_total{handler="work",outcome=%q} `, outcome))
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// TestRows_AnyBroker are rows that must hold on every broker.
func TestRows_AnyBroker(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()

			t.Run("0-17 it consumes for as long as it runs", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(passing, brokers, "with: {}"))
				s := begin(t, config)
				in, out := topics(config)
				seen := s.watch(out)
				for i := range 3 {
					payload := fmt.Sprintf(`{"n":%d}`, i)
					s.publish(in, payload)
					require.Equal(t, payload, string(seen(1)[0].Bytes()))
				}
			})

			t.Run("2-09 an order is acknowledged after it was processed, not before", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(passing, brokers, "with: {delay: 1h}, timeout: 0s") + "shutdown_timeout: 100ms\n")
				s := begin(t, config)
				in, _ := topics(config)
				id := s.publish(in, `{"n":1}`)
				s.eventually(func() bool {
					_, text := s.get("/metrics")
					return strings.Contains(text, `waybill_in_flight_messages{handler="work"} 1`)
				}, "it is being handled")
				require.ErrorContains(t, s.stop(), "1 message", "the stop says that it cut something short")
				// The order was not done, so it is still there.
				require.NoError(t, os.WriteFile(s.config, []byte(strings.Replace(config, "1h", "0s", 1)), 0o600))
				s.open()
				s.eventually(func() bool { return s.processed("ok") == "1" }, id+" is handled again")
			})

			t.Run("2-05 whoever publishes does not wait for the processing", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(passing, brokers, "with: {delay: 1h}, timeout: 0s") + "shutdown_timeout: 100ms\n")
				s := begin(t, config)
				in, _ := topics(config)
				begun := time.Now()
				s.publish(in, `{}`)
				require.Less(t, time.Since(begun), 30*time.Minute, "an hour is what the processing takes")
			})

			t.Run("2-24 a failed order is in the durable topic <topic>.<handler>.dlq", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(passing, brokers, `with: {payload: "payload.missing.member"}, retry: {immediate: 0}`))
				s := begin(t, config)
				in, _ := topics(config)
				s.publish(in, "no JSON")
				s.eventually(func() bool { return s.processed("dead") == "1" }, "it is dead")
				require.NoError(t, s.stop())
				s.open()
				l := s.letters(1)[0]
				require.Equal(t, "no JSON", string(l.Content.Content().Payload))
				require.Equal(t, in, l.Topic)
				if driver == "rabbitmq" {
					return // from there the archiver has taken it
				}
				status, text := s.get("/api/v1/topics/" + in + ".work.dlq/messages?from=oldest")
				require.Equal(t, http.StatusOK, status, text)
				require.Contains(t, text, "no JSON")
			})

			t.Run("0-W6 what cannot be decoded is logged and set aside, and the next order is handled", func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf(passing, brokers, `with: {payload: "payload"}, retry: {immediate: 0}`))
				s := begin(t, config)
				in, out := topics(config)
				seen, dead := s.watch(out), s.watch(in+".work.dlq")
				s.publish(in, "\xff\xfe not UTF-8")
				require.Equal(t, "\xff\xfe not UTF-8", string(dead(1)[0].Bytes()), "the original bytes")
				s.publish(in, `{"n":2}`)
				require.Equal(t, `{"n":2}`, string(seen(1)[0].Bytes()))
				require.Contains(t, s.log.String(), "level=ERROR")
			})

			t.Run("2-W8 it says whether it lives, whether it works, and counts", func(t *testing.T) {
				t.Parallel()
				s := begin(t, unique(fmt.Sprintf(passing, brokers, "with: {}")))
				for path, want := range map[string]string{"/ping": "pong", "/ready": "ready", "/metrics": "waybill_build_info"} {
					status, text := s.get(path)
					require.Equal(t, http.StatusOK, status, path)
					require.Contains(t, text, want)
				}
			})
		})
	}
}

func TestRows_HTTP(t *testing.T) {
	t.Parallel()

	t.Run("2-12 with listen off there is no port, only the socket of the owner", func(t *testing.T) {
		t.Parallel()
		s := begin(t, unique(fmt.Sprintf(passing, "main: {driver: embedded}", "with: {}")))
		require.False(t, slices.ContainsFunc(s.app.stops, func(s stop) bool { return s.name == "http" }))
		require.True(t, slices.ContainsFunc(s.app.stops, func(s stop) bool { return s.name == "socket" }))
		info, err := os.Stat(filepath.Join(filepath.Dir(s.config), "data", "waybill.sock"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	})

	t.Run("answers of a publish", func(t *testing.T) {
		t.Parallel()
		config := unique(strings.Replace(fmt.Sprintf(passing, "main: {driver: embedded}", "with: {}"), "in-~: {broker: main}", "in-~: {broker: main, max_message: 100}", 1))
		s := begin(t, config)
		in, out := topics(config)
		seen := s.watch(out)
		status, text := s.post("nowhere", "{}")
		require.Equal(t, http.StatusNotFound, status, text)
		status, text = s.post(in, strings.Repeat("x", 101))
		require.Equal(t, http.StatusRequestEntityTooLarge, status, text)
		require.Contains(t, text, "max_message")
		id := s.publish(in, "{}", "Idempotency-Key", "my-id", "Content-Type", "application/json", "Waybill-Meta-Tenant", "t-1")
		require.Equal(t, "my-id", id)
		m := seen(1)[0]
		require.Equal(t, "t-1", m.Metadata["tenant"])
		require.Equal(t, "application/json", m.Metadata[pipeline.MetaContentType])
	})

	t.Run("1-67 a listener that others can reach wants a token", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		file := filepath.Join(dir, "waybill.yaml")
		require.NoError(t, os.WriteFile(file, []byte(unique(fmt.Sprintf(passing, "main: {driver: embedded}", "with: {}"))), 0o600))
		_, err := routerconfig.Load(file, routerconfig.Options{Kinds: handlers.Builtin(), Set: []string{"http.listen=0.0.0.0:0"}})
		require.ErrorContains(t, err, "token_file")
		token := filepath.Join(dir, "token")
		require.NoError(t, os.WriteFile(token, []byte("canary-token\n"), 0o600))
		port := freePort(t)
		loaded, err := routerconfig.Load(file, routerconfig.Options{Kinds: handlers.Builtin(), Set: []string{
			"http.listen=127.0.0.1:" + port, "http.token_file=" + token, "data=" + filepath.Join(dir, "data"),
		}})
		require.NoError(t, err)
		log := &syncBuffer{}
		a, err := New(loaded.Pipeline, Options{Kinds: handlers.Builtin(), Log: slog.New(slog.NewTextHandler(log, nil))})
		require.NoError(t, err)
		a.Start()
		defer func() { require.NoError(t, a.Stop(context.Background())) }()
		defer http.DefaultClient.CloseIdleConnections()
		ask := func(path, bearer string) int {
			req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+port+path, nil)
			require.NoError(t, err)
			req.Header.Set("Authorization", bearer)
			res, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			return res.StatusCode
		}
		require.Equal(t, http.StatusOK, ask("/ping", ""))
		require.Equal(t, http.StatusUnauthorized, ask("/metrics", ""))
		require.Equal(t, http.StatusUnauthorized, ask("/api/v1/version", "Bearer wrong"))
		require.Equal(t, http.StatusOK, ask("/api/v1/version", "Bearer canary-token"))
		require.NotContains(t, log.String(), "canary-token")
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// TestRows_RabbitMQ are rows about RabbitMQ itself.
func TestRows_RabbitMQ(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: no server")
	}
	server, err := url.Parse(needEnv(t, "RABBITMQ_URL"))
	require.NoError(t, err)
	block := fmt.Sprintf("main: {driver: rabbitmq, url: %q, management_url: %q}", server, needEnv(t, "RABBITMQ_MANAGEMENT_URL"))

	t.Run("2-01 the log says that it starts, is connected, listens, and is ready, in this order", func(t *testing.T) {
		t.Parallel()
		config := unique(fmt.Sprintf(passing, block, "with: {}"))
		dir := t.TempDir()
		file := filepath.Join(dir, "waybill.yaml")
		require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
		log := &syncBuffer{}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan int)
		go func() {
			done <- execute(ctx, context.Background(), &interrupts{}, Options{Kinds: handlers.Builtin()}, []string{"run", "--config", file, "--set", "data=" + dir, "--set", "http.listen=off"}, strings.NewReader(""), log, log)
		}()
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "ready: all handlers wait") }, patience, 10*time.Millisecond, log)
		cancel()
		require.Zero(t, <-done)
		in, _ := topics(config)
		at := -1
		for _, line := range []string{"is starting", "connected to RabbitMQ", "listening on " + in, "✓ ready"} {
			next := strings.Index(log.String(), line)
			require.Greater(t, next, at, "%s\n%s", line, log)
			at = next
		}
	})

	t.Run("0-18 a started pipeline has its consumer on the queue", func(t *testing.T) {
		t.Parallel()
		config := unique(fmt.Sprintf(passing, block, "with: {}"))
		begin(t, config)
		in, _ := topics(config)
		conn, err := amqp.Dial(server.String())
		require.NoError(t, err)
		defer conn.Close()
		ch, err := conn.Channel()
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			q, err := ch.QueueDeclarePassive(in+".work", true, false, false, false, nil)
			return err == nil && q.Consumers == 1
		}, patience, 10*time.Millisecond)
	})

	t.Run("2-17 a refused connection and a refused login are in the log, under error, with address and user and without the password", func(t *testing.T) {
		t.Parallel()
		for want, broken := range map[string]url.URL{
			"connection refused": {Scheme: "amqp", User: url.UserPassword("shop", "CloudKart@123"), Host: "127.0.0.1:" + freePort(t), Path: "/"},
			"access refused":     {Scheme: "amqp", User: url.UserPassword("shop", "CloudKart@123"), Host: server.Host, Path: "/"},
		} {
			dir := t.TempDir()
			file := filepath.Join(dir, "waybill.yaml")
			block := fmt.Sprintf("main: {driver: rabbitmq, url: %q}", broken.String())
			require.NoError(t, os.WriteFile(file, []byte(unique(fmt.Sprintf(passing, block, "with: {}"))), 0o600))
			log := &syncBuffer{}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan int)
			go func() {
				done <- execute(ctx, context.Background(), &interrupts{}, Options{Kinds: handlers.Builtin()}, []string{"run", "--config", file, "--set", "data=" + dir, "--set", "http.listen=off"}, strings.NewReader(""), log, log)
			}()
			require.Eventually(t, func() bool { return strings.Contains(strings.ToLower(log.String()), want) }, patience, 10*time.Millisecond, want)
			cancel()
			<-done
			var line string
			for l := range strings.Lines(log.String()) {
				if strings.Contains(strings.ToLower(l), want) {
					line = l
				}
			}
			require.Contains(t, strings.ToLower(line), "error")
			require.Contains(t, line, broken.Host)
			require.Contains(t, line, "shop")
			require.NotContains(t, log.String(), "CloudKart")
		}
	})

	t.Run("2-18 it connects again by itself, at the start and after a loss", func(t *testing.T) {
		t.Parallel()
		proxy := newProxy(t, server.Host)
		through := *server
		through.Host = proxy.Listen
		config := unique(fmt.Sprintf(passing, fmt.Sprintf("main: {driver: rabbitmq, url: %q}", through.String()), "with: {}"))
		s := prepareStand(t, config)
		s.launch()
		s.eventually(func() bool { return strings.Contains(s.log.String(), "connection refused") }, "it is refused")
		require.NoError(t, proxy.Start())
		s.awaitReady()
		in, out := topics(config)
		seen := s.watch(out)
		s.publish(in, `{"n":1}`)
		seen(1)
		proxy.Stop()
		s.eventually(func() bool { status, _ := s.get("/ready"); return status == http.StatusServiceUnavailable }, "it notices")
		status, text := s.post(in, `{}`)
		require.Equal(t, http.StatusServiceUnavailable, status, text)
		require.NoError(t, proxy.Start())
		s.awaitReady()
		seen = s.watch(out)
		s.publish(in, `{"n":2}`)
		// The first may come again: its acknowledgement can be lost with the
		// connection.
		for string(seen(1)[0].Bytes()) != `{"n":2}` {
		}
		require.NoError(t, s.stop())
		proxy.Stop()
	})

	t.Run("2-30 doctor answers what the documented checks ask", func(t *testing.T) {
		t.Parallel()
		config := unique(fmt.Sprintf(passing, block, "with: {}"))
		s := begin(t, config)
		in, _ := topics(config)
		code, text, errs := s.run("", "doctor")
		require.Zero(t, code, text+errs)
		for _, want := range []string{"rabbitmq at " + server.Host + " as " + server.User.Username() + ": connected", in + ".work", "CONSUMERS", "BINDINGS", "exchange " + in + `, key "#"`} {
			require.Contains(t, text, want)
		}
	})

	t.Run("2-W1 an order that no queue takes is an error for its producer, not lost", func(t *testing.T) {
		t.Parallel()
		config := unique(fmt.Sprintf(passing, block, "with: {}"))
		config = strings.Replace(config, "handlers:", "  void"+config[strings.Index(config, "in-")+2:][:9]+": {broker: main, queue: none}\nhandlers:", 1)
		s := begin(t, config)
		in, _ := topics(config)
		status, text := s.post(strings.Replace(in, "in-", "void-", 1), "{}")
		require.Equal(t, http.StatusNotFound, status, text)
	})

	t.Run("0-03 consumed from one broker, published to another", func(t *testing.T) {
		t.Parallel()
		for name, other := range map[string]string{"embedded": "other: {driver: embedded}", "kafka": fmt.Sprintf("other: {driver: kafka, url: %q}", needEnv(t, "KAFKA_BROKERS"))} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				config := unique(strings.Replace(fmt.Sprintf(passing, block+", "+other, "with: {}"), "out-~: {broker: main}", "out-~: {broker: other}", 1))
				s := begin(t, config)
				in, out := topics(config)
				seen := s.watch(out)
				s.publish(in, `{"bridge":true}`)
				require.Equal(t, `{"bridge":true}`, string(seen(1)[0].Bytes()))
			})
		}
	})

	t.Run("0-01 consumes the queue that is bound to the exchange with the routing key", func(t *testing.T) {
		t.Parallel()
		s, name, ch := settings(t, block, server)
		seen := s.watch("out")
		require.NoError(t, ch.PublishWithContext(t.Context(), name+"-ex", "orders", true, false, amqp.Publishing{Body: []byte(`{"from":"old producer"}`)}))
		require.Equal(t, `{"from":"old producer"}`, string(seen(1)[0].Bytes()))
	})

	t.Run("0-02 publishes to the exchange with the routing key", func(t *testing.T) {
		t.Parallel()
		s, name, ch := settings(t, block, server)
		q, err := ch.QueueDeclare("", false, true, true, false, nil)
		require.NoError(t, err)
		require.NoError(t, ch.QueueBind(q.Name, "prepared", name+"-out-ex", false, nil))
		deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
		require.NoError(t, err)
		s.publish("in", `{"n":1}`)
		d := <-deliveries
		require.Equal(t, `{"n":1}`, string(d.Body))
		require.Equal(t, "prepared", d.RoutingKey)
	})
}

// settings is a pipeline whose topics name exchange, type, queue and key, as
// the order preparation service's settings did.
func settings(t *testing.T, block string, server *url.URL) (*stand, string, *amqp.Channel) {
	t.Helper()
	name := unique("set-~")
	s := begin(t, strings.ReplaceAll(fmt.Sprintf(`
brokers: {%s}
topics:
  in: {broker: main, exchange: NAME-ex, exchange_type: direct, queue: NAME-queue, routing_key: orders}
  out: {broker: main, exchange: NAME-out-ex, exchange_type: direct, routing_key: prepared}
handlers:
  NAME: {kind: map, from: in, to: out, with: {}}
`, block), "NAME", name))
	conn, err := amqp.Dial(server.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return s, name, ch
}

func newProxy(t *testing.T, upstream string) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	return toxiproxy.NewProxy(server, "rabbit", "127.0.0.1:"+freePort(t), upstream)
}
