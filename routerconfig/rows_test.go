package routerconfig_test

import (
	"fmt"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/routerconfig"
)

func load(t *testing.T, text string, o routerconfig.Options) pipeline.Pipeline {
	t.Helper()
	loaded, err := routerconfig.LoadBytes("testdata/inline.yaml", []byte(text), o)
	require.NoError(t, err)
	return loaded.Pipeline
}

func loadError(t *testing.T, text string, o routerconfig.Options) string {
	t.Helper()
	_, err := routerconfig.LoadBytes("testdata/inline.yaml", []byte(text), o)
	var findings routerconfig.Findings
	require.ErrorAs(t, err, &findings)
	return err.Error()
}

// address is a broker's URL as the AMQP client reads it.
func address(t *testing.T, b pipeline.Broker) amqp.URI {
	t.Helper()
	uri, err := amqp.ParseURI(b.URL.Reveal())
	require.NoError(t, err)
	return uri
}

const orderPrep = `
brokers:
  incoming: {driver: rabbitmq, host: in.example, port: 5673, user: prep, password: "p@ss%/#?", vhost: shop/eu}
  outgoing: {driver: rabbitmq, host: out.example, user: dcs, password: other, vhost: /}
topics:
  orders:    {broker: incoming, exchange: orders, exchange_type: direct, queue: order_prep, routing_key: new}
  order-dcs: {broker: outgoing, exchange: dcs, routing_key: prepared}
handlers:
  prepare: {kind: copy, from: orders, to: order-dcs}
`

func TestRows_OrderPrep(t *testing.T) {
	t.Parallel()
	p := load(t, orderPrep, testOptions())

	t.Run("0-01 the incoming settings say what is consumed, from where and as whom", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, amqp.URI{
			Scheme: "amqp", Host: "in.example", Port: 5673, Username: "prep", Password: "p@ss%/#?", Vhost: "shop/eu",
		}, address(t, p.Brokers["incoming"]))
		orders := p.Topics[p.Handlers[0].From]
		require.Equal(t, "incoming", orders.Broker)
		require.Equal(t, "orders", *orders.Rabbit.Exchange)
		require.Equal(t, "direct", orders.Rabbit.ExchangeType)
		require.Equal(t, "order_prep", orders.Rabbit.Queue)
		require.Equal(t, "new", *orders.Rabbit.RoutingKey)
	})
	t.Run("0-02 the outgoing settings say where a prepared order goes", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, amqp.URI{
			Scheme: "amqp", Host: "out.example", Port: 5672, Username: "dcs", Password: "other", Vhost: "/",
		}, address(t, p.Brokers["outgoing"]))
		out := p.Topics[p.Handlers[0].To[""]]
		require.Equal(t, "dcs", *out.Rabbit.Exchange)
		require.Equal(t, "prepared", *out.Rabbit.RoutingKey)
	})
	t.Run("0-03 the two blocks can name different brokers", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "incoming", p.Topics["orders"].Broker)
		require.Equal(t, "outgoing", p.Topics["order-dcs"].Broker)
		require.Equal(t, "incoming", p.Topics["orders.prepare.dlq"].Broker, "dead letters stay where they come from")
	})
	t.Run("0-03 two kinds of broker in one file", func(t *testing.T) {
		t.Parallel()
		p := load(t, "brokers: {a: {driver: embedded}, b: {driver: kafka, url: 'k:9092'}}\n"+
			"topics: {in: {broker: a}, out: {broker: b}}\nhandlers: {h: {kind: copy, from: in, to: out}}\n", testOptions())
		require.Equal(t, pipeline.DriverEmbedded, p.Brokers[p.Topics["in"].Broker].Driver)
		require.Equal(t, pipeline.DriverKafka, p.Brokers[p.Topics["out"].Broker].Driver)
	})
	t.Run("0-04 host, port, user, password and vhost are enough for a connection", func(t *testing.T) {
		t.Parallel()
		p := load(t, "brokers: {b: {driver: rabbitmq, host: '::1', port: 1, user: u, password: p, vhost: v}}", testOptions())
		require.Equal(t, amqp.URI{
			Scheme: "amqp", Host: "::1", Port: 1, Username: "u", Password: "p", Vhost: "v",
		}, address(t, p.Brokers["b"]))
	})
}

func TestRows_MissingSettings(t *testing.T) {
	t.Parallel()
	const whole = "brokers: {b: {driver: rabbitmq, host: h, port: 5672, user: u, password: hunter2, vhost: v}}\n"
	for name, c := range map[string]struct{ set, want string }{
		"0-06 a missing host":            {"brokers.b.host=", "brokers.b.host: it is missing"},
		"0-06 a missing user":            {"brokers.b.user=", "brokers.b.user: it is missing"},
		"0-06 a missing password":        {"brokers.b.password=", "brokers.b.password: it is missing"},
		"0-06 an empty host":             {"brokers.b.host=''", "brokers.b.host: it is empty"},
		"0-06 an empty user":             {"brokers.b.user=''", "brokers.b.user: it is empty"},
		"0-06 an empty password":         {"brokers.b.password=''", "brokers.b.password: it is empty"},
		"0-06 an empty vhost":            {"brokers.b.vhost=''", "brokers.b.vhost: it is empty"},
		"0-06 a variable set to nothing": {"brokers.b.port=${NOTHING:}", "brokers.b.port: a whole number is needed"},
		"0-06 port 0":                    {"brokers.b.port=0", "brokers.b.port: 0 is too small"},
		"0-06 port 65536":                {"brokers.b.port=65536", "brokers.b.port: 65536 is too large"},
		"0-06 a port that is a word":     {"brokers.b.port=amqp", "brokers.b.port: a whole number is needed"},
	} {
		t.Run(name+" is named, the password is not shown", func(t *testing.T) {
			t.Parallel()
			text := loadError(t, whole, testOptions(c.set))
			require.Contains(t, text, c.want)
			require.NotContains(t, text, "\n", "one fault, one finding")
			require.NotContains(t, text, "hunter2")
		})
	}
}

func TestRows_OrderProcessor(t *testing.T) {
	t.Parallel()
	env := map[string]string{"RABBITMQ_HOST": "rabbit.example", "RABBITMQ_USER": "waybill", "RABBITMQ_PASS": "CloudKart@123%"}
	options := testOptions()
	options.Env = func(name string) (string, bool) { value, ok := env[name]; return value, ok }

	t.Run("2-02 the environment says host, user and password; port 5672 and vhost / are the defaults", func(t *testing.T) {
		t.Parallel()
		p := load(t, `
brokers:
  main: {driver: rabbitmq, host: "${RABBITMQ_HOST}", user: "${RABBITMQ_USER}", password: "${RABBITMQ_PASS}", port: "${RABBITMQ_PORT:5672}", vhost: "${RABBITMQ_VHOST:/}"}
`, options)
		require.Equal(t, amqp.URI{
			Scheme: "amqp", Host: "rabbit.example", Port: 5672, Username: "waybill", Password: "CloudKart@123%", Vhost: "/",
		}, address(t, p.Brokers["main"]))
	})
	t.Run("2-04 exchange, its type and the routing key are settings", func(t *testing.T) {
		t.Parallel()
		const text = `
brokers: {main: {driver: rabbitmq, url: "amqp://h/"}}
topics: {orders: {exchange: cloudkart-orders, exchange_type: direct, queue: order-processing, routing_key: orders}}
`
		rabbit := load(t, text, options).Topics["orders"].Rabbit
		require.Equal(t, []string{"cloudkart-orders", "direct", "order-processing", "orders"},
			[]string{*rabbit.Exchange, rabbit.ExchangeType, rabbit.Queue, *rabbit.RoutingKey})
		other := options
		other.Set = []string{"topics.orders.exchange=skillupworks"}
		require.Equal(t, "skillupworks", *load(t, text, other).Topics["orders"].Rabbit.Exchange)
	})
	t.Run("2-25 a handler can be throttled", func(t *testing.T) {
		t.Parallel()
		p := load(t, "brokers: {main: {driver: embedded}}\ntopics: {a: {}}\n"+
			"handlers: {h: {kind: copy, from: a, throttle: {per_second: 12.5}}}", options)
		require.Equal(t, pipeline.Throttle{PerSecond: 12.5, Burst: 12}, p.Handlers[0].Throttle)
	})
	t.Run("2-W7 a password with @ comes through, from a setting, a file and a url", func(t *testing.T) {
		t.Parallel()
		p := load(t, `
brokers:
  setting: {driver: rabbitmq, host: h, user: u, password: "CloudKart@123"}
  file:    {driver: rabbitmq, host: h, user: u, password_file: password.txt}
  url:     {driver: rabbitmq, url: "amqp://u:CloudKart%40123@h/"}
  raw:     {driver: rabbitmq, url: "amqp://u:CloudKart@123@h/"}
  urlfile: {driver: rabbitmq, url_file: url.txt}
`, options)
		require.Equal(t, "CloudKart@123", address(t, p.Brokers["setting"]).Password)
		require.Equal(t, "from a file@%", address(t, p.Brokers["file"]).Password)
		require.Equal(t, "CloudKart@123", address(t, p.Brokers["url"]).Password)
		require.Equal(t, "CloudKart@123", address(t, p.Brokers["raw"]).Password)
		require.Equal(t, "from a file", address(t, p.Brokers["urlfile"]).Password)
	})
	t.Run("2-W9 how many are taken ahead is a setting", func(t *testing.T) {
		t.Parallel()
		p := load(t, "brokers: {main: {driver: embedded}}\ntopics: {a: {}}\n"+
			"handlers: {h: {kind: copy, from: a, concurrency: 3}, i: {kind: copy, from: a, in_flight: 500, in_flight_bytes: 1MiB}}", options)
		require.Equal(t, 24, p.Handlers[0].InFlight, "8 × concurrency")
		require.Equal(t, 500, p.Handlers[1].InFlight)
		require.Equal(t, int64(1<<20), p.Handlers[1].InFlightBytes)
	})
}

func TestRows_Tasks(t *testing.T) {
	t.Parallel()

	t.Run("1-14 an unknown kind keeps the program from starting, with line and column", func(t *testing.T) {
		t.Parallel()
		const text = "brokers: {main: {driver: embedded}}\ntopics: {a: {}}\nhandlers:\n  h: {kind: %s, from: a}\n"
		require.Equal(t, `testdata/inline.yaml:4:13: handlers.h.kind: there is no kind "shop.tasks.add" (kinds: call, copy, cut, fork)`,
			loadError(t, fmt.Sprintf(text, "shop.tasks.add"), testOptions()))
		require.Contains(t, loadError(t, fmt.Sprintf(text, `""`), testOptions()), "4:13: handlers.h.kind: it is empty")
	})
	t.Run("1-32 what a handler is made of is chosen by name, also if it is the program's own", func(t *testing.T) {
		t.Parallel()
		const text = "brokers: {main: {driver: embedded}}\ntopics: {a: {}}\nhandlers: {h: {kind: shop_task, from: a}}\n"
		options := testOptions()
		require.Contains(t, loadError(t, text, options), `there is no kind "shop_task"`)
		options.Kinds = options.Kinds.With(pipeline.Kind{Name: "shop_task", NewConfig: func() any { return &struct{}{} }, New: noHandler})
		require.Equal(t, "shop_task", load(t, text, options).Handlers[0].Kind)
	})
}

// TestPipeline: what design §5 says a file means where it is silent.
func TestPipeline(t *testing.T) {
	t.Parallel()
	p := load(t, "brokers: {main: {driver: embedded}}\ntopics: {a: {provision: verify}}\nhandlers: {h: {kind: copy, from: a}}", testOptions())
	require.Equal(t, pipeline.Handler{
		Name: "h", Kind: "copy", Config: &struct{}{}, Version: p.Handlers[0].Version, From: "a",
		Ordering: pipeline.OrderingNone, Concurrency: 16, InFlight: 128, InFlightBytes: 64 << 20,
		Timeout: 30 * time.Second, Retry: pipeline.Retry{Immediate: 2, Initial: 100 * time.Millisecond},
		Breaker: pipeline.Breaker{Window: time.Minute, OpenFor: 10 * time.Second}, DeadLetter: "a.h.dlq",
	}, p.Handlers[0])
	require.Equal(t, pipeline.Topic{
		Name: "a.h.dlq", Broker: "main", Provision: pipeline.ProvisionVerify, DeadLetter: true,
	}, p.Topics["a.h.dlq"])
	require.Equal(t, 20*time.Second, p.ShutdownTimeout)
	require.Equal(t, "127.0.0.1:8080", p.HTTP.Listen)
}

// TestPipeline_Paths: data starts in the working directory, a broker's file in
// the data folder, everything else in the config file's folder.
func TestPipeline_Paths(t *testing.T) {
	t.Parallel()
	p := load(t, `
http: {token_file: token}
brokers:
  main: {driver: embedded}
  far:  {driver: embedded, path: /var/lib/far.db}
  kafka: {driver: kafka, url: "k:9092", tls: {enabled: true, ca_file: ca.pem, cert_file: /etc/cert.pem, key_file: key.pem}}
`, testOptions())
	require.Equal(t, p.Data+"/waybill.db", p.Brokers["main"].Path)
	require.Equal(t, "/var/lib/far.db", p.Brokers["far"].Path)
	require.Equal(t, p.Dir+"/token", p.HTTP.TokenFile)
	require.Equal(t, p.Dir+"/ca.pem", p.Brokers["kafka"].TLS.CAFile)
	require.Equal(t, "/etc/cert.pem", p.Brokers["kafka"].TLS.CertFile)
	require.Regexp(t, `/routerconfig/data$`, p.Data)
	require.Regexp(t, `/routerconfig/testdata$`, p.Dir)
}
