package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/routerconfig"
)

const benchConfig = `
brokers: {%s}
topics:
  orders-~:   {broker: main, key: /orderId}
  prepared-~: {broker: main}
handlers:
  prepare: {kind: prepare_order, from: orders-~, to: prepared-~, ordering: key, concurrency: 8, in_flight: 32, with: {stages: {default: [pick]}}}
  call:    {kind: call_http, from: prepared-~}
`

// TestBench: it measures with a handler's settings, and leaves nothing.
func TestBench(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			s := prepareStand(t, unique(fmt.Sprintf(benchConfig, brokers)))
			code, out, errs := s.run("", "bench", "--handler", "prepare", "-n", "500", "--rate", "100", "--seconds", "1", "-o", "json")
			require.Zero(t, code, errs)
			var r benchResult
			require.NoError(t, json.Unmarshal([]byte(out), &r))
			require.Equal(t, driver, r.Driver)
			require.Equal(t, "prepare_order", r.Kind)
			require.Equal(t, 8, r.Concurrency)
			require.Equal(t, 32, r.InFlight)
			require.Positive(t, r.Rate)
			require.Positive(t, r.PublishRate)
			require.Positive(t, r.P50)
			require.LessOrEqual(t, r.P50, r.P99)
			require.Empty(t, leftInFolder(t, s.data()))

			code, out, errs = s.run("", "bench", "--handler", "call", "-n", "200", "--rate", "0")
			require.Zero(t, code, errs)
			require.Contains(t, out, "kind "+passOn, "no warehouse is called")
			require.NotContains(t, out, "latency")
		})
	}
}

func leftInFolder(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return names
}

// TestBench_RemovesWhatItMade: also when it is interrupted in the middle, and
// nothing of the user's.
func TestBench_RemovesWhatItMade(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			// Two partitions, so that RabbitMQ has queues and an exchange for them.
			text := strings.ReplaceAll(fmt.Sprintf(benchConfig, brokers), "key: /orderId", "key: /orderId, partitions: 2")
			s := prepareStand(t, unique(text))
			loaded, err := routerconfig.Load(s.config, routerconfig.Options{Kinds: handlers.Builtin(), Set: []string{"data=" + s.data()}})
			require.NoError(t, err)
			b, err := newBench(loaded.Pipeline, Options{Kinds: handlers.Builtin(), Log: slog.New(slog.DiscardHandler)}, "prepare", "")
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { // somebody presses Ctrl-C while it drains
				for b.runs.done() == 0 && ctx.Err() == nil {
					<-time.After(time.Millisecond)
				}
				cancel()
			}()
			c := &benchCommand{n: 5000, rate: 100, seconds: 60}
			_, err = b.measure(ctx, c, benchMessages{size: 200, keys: 10})
			require.ErrorContains(t, err, "interrupted")
			cancel()
			require.NoError(t, b.close(context.Background()))
			require.Empty(t, leftInFolder(t, s.data()))
			// Kafka's brokers hear of a deletion a moment after it is done.
			s.eventually(func() bool { return len(leftOnBroker(t, b)) == 0 }, "nothing is left of what was made")
		})
	}
}

// leftOnBroker names what is still there of a bench.
func leftOnBroker(t *testing.T, b *bench) (left []string) {
	t.Helper()
	sub := b.handler.Subscription(b.broker.GroupPrefix)
	switch b.broker.Driver {
	case pipeline.DriverRabbitMQ:
		conn, err := amqp.Dial(b.broker.URL.Reveal())
		require.NoError(t, err)
		defer conn.Close()
		is := func(name string, look func(*amqp.Channel) error) {
			ch, err := conn.Channel() // one each, as a miss closes it
			require.NoError(t, err)
			if look(ch) == nil {
				left = append(left, name)
			}
		}
		for _, name := range []string{sub, sub + ".0", sub + ".1", b.archive().Name, b.in.Name, b.out.Name, b.handler.DeadLetter} {
			is("queue "+name, func(ch *amqp.Channel) error {
				_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
				return err
			})
			is("exchange "+name, func(ch *amqp.Channel) error {
				return ch.ExchangeDeclarePassive(name, "topic", true, false, false, false, nil)
			})
		}
	case pipeline.DriverKafka:
		admin, err := sarama.NewClusterAdmin(strings.Split(b.broker.URL.Reveal(), ","), sarama.NewConfig())
		require.NoError(t, err)
		defer admin.Close()
		topics, err := admin.ListTopics()
		require.NoError(t, err)
		groups, err := admin.ListConsumerGroups()
		require.NoError(t, err)
		for _, name := range []string{b.in.Name, b.out.Name, b.handler.DeadLetter} {
			if _, ok := topics[name]; ok {
				left = append(left, "topic "+name)
			}
		}
		for _, name := range []string{sub, b.archive().Name} {
			if _, ok := groups[name]; ok {
				left = append(left, "group "+name)
			}
		}
	}
	return left
}

// TestBench_Usage: what cannot be measured is said before anything is made.
func TestBench_Usage(t *testing.T) {
	t.Parallel()
	s := prepareStand(t, unique(fmt.Sprintf(benchConfig, "main: {driver: embedded}")))
	bad := filepath.Join(t.TempDir(), "bad")
	require.NoError(t, os.WriteFile(bad, []byte("no order"), 0o600))
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", exitUsage, "[handler topic]"},
		{"--handler prepare --topic x", exitUsage, "[handler topic]"},
		{"--handler nobody", exitNotFound, `handler "nobody" is not in the config`},
		{"--topic nowhere", exitNotFound, `topic "nowhere" is not in the config`},
		{"--handler prepare -n 3", exitUsage, "--number 3"},
		{"--handler prepare -o xml", exitUsage, "table or json"},
		{"--handler prepare --payload nothing", exitFailure, "--payload"},
		{"--handler prepare --rate 0 -n 200 --payload " + bad, exitFailure, "give one that it takes with --payload"},
	} {
		code, _, errs := s.run("", append([]string{"bench"}, strings.Fields(c.args)...)...)
		require.Equal(t, c.code, code, "%s: %s", c.args, errs)
		require.Contains(t, errs, c.says, c.args)
	}
	require.Empty(t, slices.DeleteFunc(leftInFolder(t, s.data()), func(name string) bool { return filepath.Base(name) == "instance" }))
}

// TestBench_CountsWhatIsConfirmed: the drain is not over while outputs wait
// for their confirm.
func TestBench_CountsWhatIsConfirmed(t *testing.T) {
	t.Parallel()
	s := prepareStand(t, unique(fmt.Sprintf(benchConfig, "main: {driver: embedded}")))
	loaded, err := routerconfig.Load(s.config, routerconfig.Options{Kinds: handlers.Builtin(), Set: []string{"data=" + s.data()}})
	require.NoError(t, err)
	b, err := newBench(loaded.Pipeline, Options{Kinds: handlers.Builtin(), Log: slog.New(slog.DiscardHandler)}, "prepare", "")
	require.NoError(t, err)
	_, err = b.measure(t.Context(), &benchCommand{n: 300}, benchMessages{size: 200, keys: 10})
	require.NoError(t, err)
	outputs := 0
	err = b.app.brokers["main"].Tail(t.Context(), b.out, broker.TailOptions{Oldest: true}, func(*message.Message) error { outputs++; return nil })
	require.NoError(t, err)
	require.Equal(t, 300, outputs)
	require.NoError(t, b.close(t.Context()))
}
