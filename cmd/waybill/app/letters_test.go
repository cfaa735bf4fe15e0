package app

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// failingWith makes a pipeline whose handler gives up on whatever is not JSON.
const failingWith = `with: {payload: "payload.missing.member"}, retry: {immediate: 0}`

// letters waits until the store has n dead letters and returns them, the
// newest first.
func (s *stand) letters(n int) []dashboard.Letter {
	s.t.Helper()
	var page dashboard.LetterPage
	s.eventually(func() bool {
		status, text := s.get("/api/v1/dead-letters?whole=true&limit=1000")
		page = dashboard.LetterPage{}
		return status == http.StatusOK && json.Unmarshal([]byte(text), &page) == nil && len(page.Letters) >= n
	}, fmt.Sprintf("%d letters are in the store", n))
	require.Len(s.t, page.Letters, n)
	return page.Letters
}

// hostileMessages have bytes that are no text in every place that takes them.
func hostileMessages(n int) []*message.Message {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	bytes := func(most int) string {
		b := make([]byte, 1+random.IntN(most))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		return string(b)
	}
	all := make([]*message.Message, n)
	for i := range all {
		all[i] = message.NewMessage(fmt.Sprintf("m-%d", i), []byte("no JSON "+bytes(200)))
		for k, name := range []string{"tenant", "ümläut", "x-death", "reason_poisoned", "a/b~c", "numbers"} {
			if random.IntN(3) > 0 {
				all[i].Metadata.Set(name, []string{bytes(40), "", "plain", "<&>\u2028", `{"a":1.50}`, "1.0"}[(i+k)%6])
			}
		}
		delete(all[i].Metadata, "reason_poisoned") // settling writes it
	}
	return all
}

// TestLetters_Bytes: a dead letter's payload and headers are byte-equal to the
// original's after archive, replay, export and import.
func TestLetters_Bytes(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			config := unique(fmt.Sprintf(passing, brokers, failingWith))
			s := begin(t, config)
			in, out := topics(config)
			original := s.read(in)
			msgs := hostileMessages(60)
			require.NoError(t, s.app.brokers["main"].Publisher().Publish(in, msgs...))
			want := original(len(msgs))

			same := func(got []dashboard.Letter) {
				t.Helper()
				for _, l := range got {
					content, as := l.Content.Content(), want[l.Message]
					require.Equal(t, string(as.Payload), string(content.Payload))
					require.Equal(t, plain(as.Metadata), plain(content.Headers))
				}
			}
			letters := s.letters(len(msgs))
			same(letters)

			// And so is what the broker makes of them when they are published again.
			published := s.read(out)
			for _, l := range letters {
				content := l.Content.Content()
				msg := message.NewMessage(l.Message, content.Payload)
				msg.Metadata = content.Headers
				require.NoError(t, s.app.brokers["main"].Publisher().Publish(out, msg))
			}
			for id, msg := range published(len(msgs)) {
				require.Equal(t, want[id].Metadata, msg.Metadata)
			}

			// The handler gets in a replay what it got before: it dies of the same.
			code, _, errs := s.run("", "dlq", "replay", "--all", "--yes")
			require.Equal(t, exitPartial, code, errs)
			s.eventually(func() bool {
				letters = s.letters(len(msgs))
				return !slices.ContainsFunc(letters, func(l dashboard.Letter) bool { return l.Deaths != 2 })
			}, "all have died again")
			same(letters)

			code, exported, errs := s.run("", "dlq", "export")
			require.Zero(t, code, errs)
			require.Equal(t, len(msgs), strings.Count(exported, "\n"))
			require.NoError(t, s.stop())

			other := prepareStand(t, config) // a store of its own, and nobody runs on it
			code, said, errs := other.run(exported, "dlq", "import", "-", "--why", "moved")
			require.Zero(t, code, errs)
			require.Equal(t, "imported 60, 0 were there already\n", said)
			code, said, errs = other.run(exported, "dlq", "import")
			require.Zero(t, code, errs)
			require.Equal(t, "imported 0, 60 were there already\n", said)
			code, again, errs := other.run("", "dlq", "export")
			require.Zero(t, code, errs)
			require.Equal(t, exported, again, "in the same order: that of a key")
			var page dashboard.LetterPage
			code, said, errs = other.run("", "dlq", "ls", "-n", "0", "--output", "json")
			require.Zero(t, code, errs)
			require.NoError(t, json.Unmarshal([]byte(said), &page))
			require.Len(t, page.Letters, len(msgs))
			for i, l := range page.Letters[:3] {
				code, out, errs = other.run("", "dlq", "show", fmt.Sprint(l.ID), "--output", "json")
				require.Zero(t, code, errs)
				require.NoError(t, json.Unmarshal([]byte(out), &page.Letters[i]))
			}
			same(page.Letters[:3])
		})
	}
}

// plain leaves out the driver's notes on how headers were written: they tell
// of those that settling added, too, which are gone again.
func plain(meta map[string]string) map[string]string {
	headers := maps.Clone(meta)
	delete(headers, broker.MetaWire)
	return headers
}

// read taps a topic below the API, where bytes are as they are. The returned
// function waits for the next n messages, by id.
func (s *stand) read(topic string) func(n int) map[string]*message.Message {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, seen, done := make(chan struct{}), make(chan *message.Message, 1000), make(chan struct{})
	go func() {
		defer close(done)
		_ = s.app.brokers["main"].Tail(ctx, s.app.pipeline.Topics[topic], broker.TailOptions{Ready: func() { close(ready) }},
			func(msg *message.Message) error { seen <- msg; return nil }) // it ends with the test
	}()
	stop := func() { cancel(); <-done }
	s.t.Cleanup(stop)
	<-ready
	return func(n int) map[string]*message.Message {
		s.t.Helper()
		defer stop()
		all := make(map[string]*message.Message)
		for len(all) < n {
			select {
			case msg := <-seen:
				all[msg.UUID] = msg
			case <-time.After(patience):
				require.Failf(s.t, "waited in vain", "%d of %d messages", len(all), n)
			}
		}
		return all
	}
}

// TestArchiver_StoreAway: while PostgreSQL is away, letters wait at their
// broker, /ready says so, and none is lost, also if Waybill stops meanwhile.
func TestArchiver_StoreAway(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			proxy, store := awayable(t)
			config := unique(fmt.Sprintf(passing, brokers, failingWith)) + fmt.Sprintf("store: {url: %q}\nmessage_log: {mode: \"off\"}\n", store) // the log would hold the handler
			s := begin(t, config)
			in, _ := topics(config)
			s.publish(in, "no JSON 0")
			s.letters(1)
			s.eventually(func() bool { // else it asks for 30 s what became of it
				_, text := s.get("/metrics")
				return strings.Contains(text, "waybill_dead_letters_archived_total{topic=\""+in+".work.dlq\"} 1\n")
			}, "the archiver has heard that the store has it")

			proxy.Stop()
			for n := range 20 {
				s.publish(in, fmt.Sprintf("no JSON %d", n+1))
			}
			t.Run("1-W16 a store that is away is named, and nothing is lost", func(t *testing.T) {
				s.eventually(func() bool {
					status, text := s.get("/ready")
					return status == http.StatusServiceUnavailable && strings.Contains(text, "dead letters of "+in+".work.dlq are not archived")
				}, "/ready names the archiver")
				require.NoError(t, s.stop(), "a stop does not wait for the store")
				require.NoError(t, proxy.Start())
				s.open()
				got := map[string]bool{}
				for _, l := range s.letters(21) {
					got[string(l.Content.Content().Payload)] = true
				}
				require.Len(t, got, 21)
				s.awaitReady()
			})
		})
	}
}

// awayable is a schema of the test's own in PostgreSQL, behind a proxy.
func awayable(t *testing.T) (*toxiproxy.Proxy, string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	u, err := url.Parse(storetest.Schema(t))
	require.NoError(t, err)
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, "postgres", "127.0.0.1:0", u.Host)
	require.NoError(t, proxy.Start())
	t.Cleanup(proxy.Stop)
	_, port, err := net.SplitHostPort(proxy.Listen)
	require.NoError(t, err)
	u.Host = net.JoinHostPort("127.0.0.1", port)
	return proxy, u.String()
}

// TestArchiver_RabbitMQ: what RabbitMQ's own dead-lettering, or a Waybill
// before there was an archiver, left in the queue of a dead-letter topic is
// archived.
func TestArchiver_RabbitMQ(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs RabbitMQ")
	}
	brokers := brokersUnderTest(t)["rabbitmq"]
	config := unique(fmt.Sprintf(passing, brokers, failingWith))
	in, _ := topics(config)
	dead := in + ".work.dlq"
	conn, err := amqp.Dial(needEnv(t, "RABBITMQ_URL"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	// As release 0.1 declared them.
	require.NoError(t, ch.ExchangeDeclare(dead, "topic", true, false, false, false, nil))
	_, err = ch.QueueDeclare(dead, true, false, false, false, amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int64(1_000_000)})
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(dead, "#", dead, false, nil))
	require.NoError(t, ch.PublishWithContext(t.Context(), dead, dead, false, false, amqp.Publishing{Body: []byte("left over"), Headers: amqp.Table{
		"_watermill_message_uuid": "old", "dlhandler": "work", "dllasttime": "2026-01-01T00:00:00Z", "dlreason": "timeout", "shop": "north",
	}}))
	source := in + "-foreign"
	_, err = ch.QueueDeclare(source, true, false, false, false, amqp.Table{"x-dead-letter-exchange": dead})
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = ch.QueueDelete(source, false, false, false) })
	for _, body := range []string{"twin", "twin", "with id"} {
		id := ""
		if body == "with id" {
			id = "foreign"
		}
		require.NoError(t, ch.PublishWithContext(t.Context(), "", source, false, false, amqp.Publishing{Body: []byte(body), MessageId: id}))
	}
	s := begin(t, config)
	rejected := 0
	s.eventually(func() bool {
		d, ok, err := ch.Get(source, false)
		require.NoError(t, err)
		if ok {
			require.NoError(t, d.Reject(false))
			rejected++
		}
		return rejected == 3
	}, "all are rejected")

	byPayload := map[string][]dashboard.Letter{}
	for _, l := range s.letters(4) {
		payload := string(l.Content.Content().Payload)
		byPayload[payload] = append(byPayload[payload], l)
	}
	old := byPayload["left over"][0]
	require.Equal(t, "old", old.Message)
	require.Equal(t, pipeline.ReasonTimeout, old.Reason)
	require.Equal(t, map[string]string{"shop": "north"}, old.Headers)
	foreign := byPayload["with id"][0]
	require.Equal(t, "foreign", foreign.Message)
	require.Equal(t, source, foreign.Topic)
	require.Equal(t, pipeline.ReasonRejected, foreign.Reason)
	require.Equal(t, 1, foreign.Attempts)
	require.WithinDuration(t, time.Now(), foreign.Last, time.Hour)
	require.Len(t, byPayload["twin"], 2, "equal messages without ids are not merged")

	code, _, errs := s.run("", "tail", dead, "--from", "oldest", "-n", "1")
	require.Equal(t, exitFailure, code)
	require.Contains(t, errs, "waybill dlq ls")
	code, out, errs := s.run("", "doctor")
	require.Zero(t, code, errs)
	require.Contains(t, out, dead)
}
