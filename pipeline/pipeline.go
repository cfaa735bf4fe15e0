package pipeline

import (
	"fmt"
	"log/slog"
	"time"
)

// Pipeline is a whole config file as plain, checked values with all defaults
// filled in. routerconfig makes it; nothing changes it afterwards.
type Pipeline struct {
	Instance        string        // this process among others; "" until the data folder gave it one
	Data            string        // folder of files that Waybill keeps; absolute
	Dir             string        // folder of the config file; absolute
	Version         string        // hash of the effective config
	ShutdownTimeout time.Duration // how long a stop waits for what is in flight
	HTTP            HTTP
	Store           Store
	MessageLog      MessageLog
	Brokers         map[string]Broker
	Topics          map[string]Topic // also the dead-letter topics of its handlers
	Handlers        []Handler        // by name
}

// HTTP is the listener of the API.
type HTTP struct {
	Listen    string // host:port, or "off": only the socket in the data folder
	TokenFile string // file with the bearer token; needed beyond loopback
}

// Store is where dead letters, receipts, delayed messages and the message log
// are kept: File or URL.
type Store struct {
	File     string        // a SQLite file; absolute
	URL      Secret        // postgres://…, for several instances
	Receipts time.Duration // how long receipts are kept; 0 or less: for ever
}

// Modes of the message log.
const (
	LogAll      = "all"
	LogFailures = "failures" // only messages that failed at least once
	LogSample   = "sample"   // those, and a share of the others
	LogOff      = "off"
)

// MessageLog says what is kept of the messages that pass.
type MessageLog struct {
	Mode      string
	Share     float64   // of the successes that LogSample keeps: more than 0, at most 1
	Payload   bool      // keep payloads
	Mask      []string  // JSON Pointers of values that are hidden before anything is stored
	Retention Retention // of what is completed
	Failures  Retention // of what is dead, and of what waits for a retry, each
}

// Drivers of a broker.
const (
	DriverEmbedded = "embedded"
	DriverRabbitMQ = "rabbitmq"
	DriverKafka    = "kafka"
)

// Broker is one entry of `brokers:`.
type Broker struct {
	Name          string
	Driver        string
	URL           Secret // RabbitMQ: amqp(s)://…; Kafka: host:port,host:port
	Path          string // embedded: the SQLite file; absolute
	ManagementURL Secret // RabbitMQ's HTTP API, optional
	GroupPrefix   string // put before the name of every subscription
	TLS           TLS
	SASL          SASL
}

// TLS is a broker's transport security. A zero value means none for Kafka;
// for RabbitMQ the URL's scheme decides, and these add to it.
type TLS struct {
	Enabled    bool
	CAFile     string
	CertFile   string
	KeyFile    string
	ServerName string
	// SkipVerify accepts any certificate. Only for tests: it is logged at start.
	SkipVerify bool
}

// SASL is how to log in to Kafka; RabbitMQ takes user and password from here
// too where they are not in its URL.
type SASL struct {
	Mechanism string // "", PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
	User      string
	Password  Secret
}

// Provision says what a driver does about topology that it needs.
type Provision string

// The choices of `provision:`.
const (
	ProvisionCreate Provision = "create" // make what is missing
	ProvisionVerify Provision = "verify" // refuse to start if something is missing or different
	ProvisionOff    Provision = "off"    // assume that it is there
)

// Topic is one entry of `topics:`.
type Topic struct {
	Name       string
	Broker     string
	Draining   string   // the broker it is moving away from, where what is left is read; "": none
	Key        []string // JSON Pointers into the payload, the first that is there gives the key
	Partitions int      // 0: the driver's default
	Replicas   int      // Kafka; 0: the broker's default
	Retention  Retention
	MaxMessage int // bytes of payload and metadata; 0: the broker's limit
	Provision  Provision
	DeadLetter bool // made by Waybill for dead letters: kept for ever unless set
	Rabbit     RabbitTopic
}

// Retention says how long a log keeps messages. Zero values mean the default
// of the driver; negative ones mean for ever.
type Retention struct {
	Age   time.Duration
	Bytes int64
}

// RabbitTopic is a topic's place on RabbitMQ. The zero value is Waybill's own
// layout: a durable topic exchange of the topic's name.
type RabbitTopic struct {
	Exchange     *string // nil: the topic's name; "": the default exchange
	ExchangeType string  // "": topic
	Queue        string  // "": a queue a subscription; "none": no queue of its own for an unread topic
	QueueType    string  // quorum (default), classic
	RoutingKey   *string // nil: "#" for bindings and the topic's name for messages
	Arguments    map[string]any
}

// Ordering says which messages of a subscription wait for each other.
type Ordering string

// The choices of `ordering:`.
const (
	OrderingNone      Ordering = "none"
	OrderingKey       Ordering = "key"
	OrderingPartition Ordering = "partition"
)

// Start says where a new subscription begins to read.
type Start struct {
	Newest bool      // only what comes from now on
	Time   time.Time // what came since then; zero: the oldest message that is there
}

// Handler is one entry of `handlers:`, a route.
type Handler struct {
	Name          string
	Kind          string
	Config        any // what Kind.NewConfig returned, decoded
	Version       string
	From          string
	To            map[string]string // output name → topic; {"": topic} for a plain `to:`
	Ordering      Ordering
	Concurrency   int
	InFlight      int
	InFlightBytes int64
	Start         Start
	Timeout       time.Duration // one run of the kind; 0: no limit
	Retry         Retry
	Breaker       Breaker
	Throttle      Throttle
	Overtake      bool   // later messages of a key pass one whose delayed retry waits
	HoldKey       bool   // a dead letter holds the later messages of its key
	DeadLetter    string // the topic of its dead letters
	MaxReplays    int    // replays after which a letter that dies again is parked; 0: no bound
}

// Parking is the topic of letters that were replayed too often.
func (h Handler) Parking() string { return h.From + "." + h.Name + ".parking" }

// Subscription is the name under which the broker keeps what the handler has
// read: [prefix]<topic>.<handler> (design §3, Names).
func (h Handler) Subscription(prefix string) string { return prefix + h.From + "." + h.Name }

// Retry is the policy for errors that say nothing of their own.
type Retry struct {
	Immediate int           // runs after the first, in place
	Initial   time.Duration // wait before the first of them, doubled each time, jittered
	Delayed   Delayed
}

// Delayed is the policy of retries from the store, each with its immediate
// ones. The zero value means none.
type Delayed struct {
	Initial    time.Duration // wait before the first
	Max        time.Duration // the longest wait
	Multiplier float64       // by what each wait is longer than the one before
	Jitter     float64       // up to what share of a wait is added or taken away
	Attempts   int           // how many; 0: none
}

// Breaker stops a handler's intake while the other side is in trouble.
type Breaker struct {
	Failures int           // consecutive ones that open it; 0: no breaker
	Window   time.Duration // how often the count starts anew while it is closed; 0: never
	OpenFor  time.Duration // how long it stays open before one message is let through
}

// Throttle bounds how many messages a second a handler takes.
type Throttle struct {
	PerSecond float64 // 0: no bound
	Burst     int
}

// Secret is text that never shows: it prints, logs and marshals as <secret>.
type Secret string

const masked = "<secret>"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON, YAML and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret itself, for the one place that uses it.
func (s Secret) Reveal() string { return string(s) }

var (
	_ fmt.Stringer   = Secret("")
	_ slog.LogValuer = Secret("")
)
