package app

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

// moving is a pipeline of one map from in-~, which moves from broker old to
// broker new, to out-~ on a broker whose log shows the order of all.
const moving = `
shutdown_timeout: %s
brokers:
  old: %s
  new: %s
  log: %s
topics:
  in-~: {key: [/k], %s}
  out-~: {broker: log, partitions: 1}
handlers:
  work: {kind: map, from: in-~, to: out-~, ordering: %s, concurrency: 8, timeout: 0s, %s}
`

// How many messages wait on the old broker, and how many come to the new one
// before and after the restart in the middle; over how many keys.
const (
	waiting, before, after = 300, 40, 40
	movingKeys             = 7
)

// move is a stand whose topic moves.
type move struct {
	*stand
	old, new, log, ordering string
	topic, out              string
	sent                    int
}

// stuck is a handler that finishes nothing.
const stuck = "with: {delay: 1h}"

func (m *move) configure(topic, handler string) {
	m.t.Helper()
	timeout := "20s"
	if handler == stuck {
		timeout = "100ms"
	}
	text := fmt.Sprintf(moving, timeout, m.old, m.new, cmp.Or(m.log, "{driver: embedded, path: log.db}"), topic, m.ordering, handler)
	text = strings.ReplaceAll(text, "~", strings.TrimPrefix(m.topic, "in-"))
	require.NoError(m.t, os.WriteFile(m.config, []byte(text), 0o600))
}

// send publishes the next n messages.
func (m *move) send(n int) {
	m.t.Helper()
	for range n {
		m.publish(m.topic, fmt.Sprintf(`{"k":"k%d","n":%d}`, m.sent%movingKeys, m.sent))
		m.sent++
	}
}

// order is what has been handled, by number, in the order of the outputs.
func (m *move) order() []int {
	m.t.Helper()
	status, text := m.get("/api/v1/topics/" + m.out + "/messages?from=oldest")
	require.Equal(m.t, http.StatusOK, status, text)
	var all []int
	for line := range strings.Lines(text) {
		var msg dashboard.Message
		require.NoError(m.t, json.Unmarshal([]byte(line), &msg), line)
		_, number, _ := strings.Cut(strings.TrimSuffix(string(msg.Bytes()), "}"), `"n":`)
		n, err := strconv.Atoi(number)
		require.NoError(m.t, err, line)
		all = append(all, n)
	}
	return all
}

// TestDraining moves a topic with messages of many keys from one broker to
// another, with a restart in the middle.
func TestDraining(t *testing.T) {
	t.Parallel()
	moves := map[string][2]string{"embedded to embedded": {"{driver: embedded, path: old.db}", "{driver: embedded, path: new.db}"}}
	if !testing.Short() {
		rabbit := fmt.Sprintf("{driver: rabbitmq, url: %q}", needEnv(t, "RABBITMQ_URL"))
		kafka := fmt.Sprintf("{driver: kafka, url: %q}", needEnv(t, "KAFKA_BROKERS"))
		moves["embedded to rabbitmq"] = [2]string{"{driver: embedded, path: old.db}", rabbit}
		moves["rabbitmq to kafka"] = [2]string{rabbit, kafka}
		moves["kafka to embedded"] = [2]string{kafka, "{driver: embedded, path: new.db}"}
	}
	for name, brokers := range moves {
		for _, ordering := range []string{"key", "none"} {
			t.Run(name+" ordering "+ordering, func(t *testing.T) {
				t.Parallel()
				in := unique("in-~")
				m := &move{
					stand: prepareStand(t, ""), old: brokers[0], new: brokers[1], ordering: ordering,
					topic: in, out: "out-" + strings.TrimPrefix(in, "in-"),
				}
				m.run(t)
			})
		}
	}
}

func (m *move) run(t *testing.T) {
	m.configure("broker: old", stuck)
	m.open()
	m.send(waiting)
	require.Error(t, m.stop(), "all is still there")

	// So slow that it is far from the end when it is stopped.
	m.configure("broker: new, draining: old", "with: {}, throttle: {per_second: 20, burst: 1}")
	m.open()
	m.send(before)
	m.eventually(func() bool {
		seen := m.order()
		return len(seen) > 5 && (m.ordering == "key" || slices.Max(seen) >= waiting)
	}, "some of the old are handled, and, where they need not wait, of the new")
	status, ready := m.get("/ready")
	require.Equal(t, http.StatusOK, status, ready)
	require.Contains(t, ready, "handler work: draining broker old: ")
	_, metrics := m.get("/metrics")
	require.Contains(t, metrics, `waybill_backlog_messages{broker="old",group="`+m.topic+`.work",topic="`+m.topic+`"}`)
	require.NoError(t, m.stop())

	m.configure("broker: new, draining: old", "with: {}")
	m.open()
	m.send(after)
	m.eventually(func() bool { return len(m.order()) >= m.sent }, "all are handled")
	m.eventually(func() bool { _, ready := m.get("/ready"); return strings.Contains(ready, "nothing is left") }, "it is told that nothing is left")
	require.Contains(t, m.stand.log.String(), "remove draining from the topic's config")
	code, out, _ := m.stand.run("", "doctor")
	require.Zero(t, code, out)
	require.Contains(t, out, "topic "+m.topic+" is moving to new, and nothing of "+m.topic+".work is left here")
	m.check(t, m.order())
	require.NoError(t, m.stop())

	// The old broker is not needed any more.
	m.old = "{driver: rabbitmq, url: \"amqp://127.0.0.1:1/\"}"
	m.configure("broker: new", "with: {}")
	m.launch()
	m.send(1)
	m.eventually(func() bool { return len(m.order()) == m.sent }, "the new broker goes on alone")
}

// check holds what was handled to the promises of a move.
func (m *move) check(t *testing.T, order []int) {
	t.Helper()
	handled := make(map[int]int)
	place := make(map[int]int)
	last := make(map[int]int)
	for i, n := range order {
		handled[n]++
		place[n] = i
		if m.ordering == "key" {
			require.LessOrEqual(t, last[n%movingKeys], n, "key k%d: its messages are out of order: %v", n%movingKeys, order)
		}
		last[n%movingKeys] = n + 1
	}
	require.Len(t, handled, m.sent, "each was handled")
	for n, times := range handled {
		require.Equal(t, 1, times, "message %d was handled once", n)
	}
	if m.ordering != "key" {
		firstNew := slices.IndexFunc(order, func(n int) bool { return n >= waiting })
		require.Less(t, firstNew, place[waiting-1], "the new broker's messages waited for the old one's")
	}
}

// TestDraining_OtherInstance: RabbitMQ does not count what another instance
// has in hand, and the order holds all the same.
func TestDraining_OtherInstance(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs RabbitMQ")
	}
	in := unique("in-~")
	begin := func() *move {
		return &move{
			stand: prepareStand(t, ""), ordering: "key", topic: in, out: "out-" + strings.TrimPrefix(in, "in-"),
			old: fmt.Sprintf("{driver: rabbitmq, url: %q}", needEnv(t, "RABBITMQ_URL")), new: "{driver: embedded, path: new.db}",
		}
	}
	first := begin()
	first.configure("broker: old", stuck)
	first.open()
	first.send(20)
	first.eventually(func() bool {
		_, text := first.get("/metrics")
		return strings.Contains(text, `waybill_in_flight_messages{handler="work"} 20`)
	}, "all are in its hands")

	second := begin()
	second.configure("broker: new, draining: old", "with: {}")
	second.open()
	second.sent = first.sent
	second.send(20)
	second.eventually(func() bool {
		_, ready := second.get("/ready")
		return strings.Contains(ready, "what its other readers, 1, have in hand is waited for")
	}, "it waits for the first")
	require.Empty(t, second.order())

	require.Error(t, first.stop(), "it was cut short")
	second.eventually(func() bool { return len(second.order()) >= second.sent }, "all are handled")
	order := second.order()
	require.Len(t, order, 40)
	for i, n := range order {
		require.Equal(t, i < 20, n < 20, "those of the new broker come after those of the old: %v", order)
	}
	require.NoError(t, second.stop())
}

// TestDraining_WrongBroker: a broker that the topic never was on is not taken
// for one that is empty.
func TestDraining_WrongBroker(t *testing.T) {
	t.Parallel()
	m := &move{
		stand: prepareStand(t, ""), old: "{driver: embedded, path: wrong.db}", new: "{driver: embedded, path: new.db}",
		ordering: "key", topic: unique("in-~"),
	}
	m.configure("broker: new, draining: old", "with: {}")
	m.launch()
	m.eventually(func() bool { status, _ := m.get("/ping"); return status != http.StatusOK }, "it ends")
	err := m.stop()
	require.ErrorContains(t, err, "provision broker old: ")
	require.ErrorContains(t, err, "with draining: old nothing is made there and all must be there already: "+m.topic+".work; name the broker that the topic was on")
}

// TestDraining_Instances: two that drain at once let go of the old broker
// together, and the order holds over both.
func TestDraining_Instances(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs RabbitMQ and Kafka")
	}
	rabbit := fmt.Sprintf("{driver: rabbitmq, url: %q}", needEnv(t, "RABBITMQ_URL"))
	kafka := fmt.Sprintf("{driver: kafka, url: %q}", needEnv(t, "KAFKA_BROKERS"))
	for name, brokers := range map[string][2]string{"rabbitmq to kafka": {rabbit, kafka}, "kafka to rabbitmq": {kafka, rabbit}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := unique("in-~")
			begin := func(topic, handler string) *move {
				m := &move{
					stand: prepareStand(t, ""), ordering: "key", topic: in, out: "out-" + strings.TrimPrefix(in, "in-"),
					old: brokers[0], new: brokers[1], log: kafka,
				}
				m.configure(topic, handler)
				m.open()
				return m
			}
			first := begin("broker: old", stuck)
			first.send(waiting)
			require.Error(t, first.stop())

			first.configure("broker: new, draining: old", "with: {delay: 5ms}")
			first.open()
			second := begin("broker: new, draining: old", "with: {delay: 5ms}")
			first.send(after)
			first.eventually(func() bool { return len(first.order()) >= first.sent }, "all are handled")
			for _, m := range []*move{first, second} {
				m.eventually(func() bool { _, ready := m.get("/ready"); return strings.Contains(ready, "nothing is left") }, "each knows the end")
			}
			first.check(t, first.order())
			require.NoError(t, first.stop())
			require.NoError(t, second.stop())
		})
	}
}
