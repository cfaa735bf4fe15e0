package routerconfig

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// handlerConfig is one entry of `handlers:`.
type handlerConfig struct {
	Kind          string            `yaml:"kind" doc:"What it does with a message; the kinds are below." default:"(required)"`
	From          string            `yaml:"from" doc:"The topic it reads." default:"(required)"`
	To            outputs           `yaml:"to,omitempty" type:"text, map of text" doc:"The topic it writes, or, for a kind with named outputs, a map of output names to topics."`
	Ordering      pipeline.Ordering `yaml:"ordering" enum:"none|key|partition" doc:"Which messages wait for each other: none; those with the same key, which needs key at the topic; or all of a partition."`
	Concurrency   int               `yaml:"concurrency" min:"1" max:"100000" doc:"How many messages are handled at a time."`
	InFlight      int               `yaml:"in_flight" min:"0" max:"1000000" doc:"How many messages are taken from the broker and not yet settled, of all partitions together; on RabbitMQ also the prefetch of each queue. 0: the default." default:"8 × concurrency"`
	InFlightBytes size              `yaml:"in_flight_bytes" type:"size" doc:"The bound of in_flight in bytes of payload."`
	Start         start             `yaml:"start" type:"oldest, newest, time" doc:"Where a new subscription begins: at the oldest message that is there, at what comes from now on, or at an RFC 3339 time. One that has read before goes on where it was."`
	Timeout       time.Duration     `yaml:"timeout" doc:"How long one run of the kind may take. 0: no limit."`
	Retry         retryConfig       `yaml:"retry" doc:"What to do with errors that do not say themselves."`
	Overtake      bool              `yaml:"overtake,omitempty" doc:"Let later messages of a key pass one whose delayed retry waits."`
	HoldKey       bool              `yaml:"hold_key,omitempty" doc:"After a dead letter hold the later messages of its key, until it is replayed or archived."`
	Breaker       breakerConfig     `yaml:"breaker" doc:"Stops taking messages while the other side is in trouble."`
	Throttle      throttleConfig    `yaml:"throttle,omitempty" doc:"Bounds how many messages are handled a second."`
	DeadLetter    deadLetterConfig  `yaml:"dead_letter" doc:"Where messages go that cannot be handled."`
	With          kindConfig        `yaml:"with" type:"the kind's own keys" doc:"The kind's own config."`
}

// SetDefaults sets what holds where the file is silent.
func (h *handlerConfig) SetDefaults() {
	h.Ordering = pipeline.OrderingNone
	h.Concurrency = 16
	h.InFlightBytes = 64 << 20
	h.Timeout = 30 * time.Second
	h.Retry = retryConfig{Immediate: 2, Initial: 100 * time.Millisecond}
	h.Breaker = breakerConfig{Window: time.Minute, OpenFor: 10 * time.Second}
}

type retryConfig struct {
	Immediate int            `yaml:"immediate" min:"0" max:"1000" doc:"Runs after the first, in place. 0: none."`
	Initial   time.Duration  `yaml:"initial" doc:"The wait before the first of them, doubled each time, with jitter."`
	Delayed   *delayedConfig `yaml:"delayed,omitempty" doc:"Retries from the store, minutes or hours later: the message leaves its broker and waits there. Not given: none."`
}

// delayedConfig is the block of delayed retries.
type delayedConfig struct {
	Initial    time.Duration `yaml:"initial" doc:"The wait before the first of them."`
	Max        time.Duration `yaml:"max" doc:"The longest wait."`
	Multiplier float64       `yaml:"multiplier" min:"1" doc:"By what each wait is longer than the one before."`
	Jitter     float64       `yaml:"jitter" min:"0" max:"1" doc:"Up to what share of a wait is added or taken away at random."`
	Attempts   int           `yaml:"attempts" min:"1" max:"100000" doc:"How many there are, each with its immediate retries; then the message is dead."`
}

// SetDefaults sets what holds where the file is silent.
func (d *delayedConfig) SetDefaults() {
	*d = delayedConfig{Initial: 5 * time.Second, Max: 10 * time.Minute, Multiplier: 2, Jitter: 0.2, Attempts: 8}
}

// delayed is the checked block as the pipeline has it.
func (d *delayedConfig) delayed() pipeline.Delayed {
	if d == nil {
		return pipeline.Delayed{}
	}
	return pipeline.Delayed{Initial: d.Initial, Max: d.Max, Multiplier: d.Multiplier, Jitter: d.Jitter, Attempts: d.Attempts}
}

type breakerConfig struct {
	Failures int           `yaml:"failures" min:"0" doc:"How many failures in a row open it; only those that say the other side is in trouble count. 0: no breaker."`
	Window   time.Duration `yaml:"window" doc:"How often the count of failures starts anew while the breaker is closed."`
	OpenFor  time.Duration `yaml:"open_for" doc:"How long it stays open before one message is let through."`
}

type throttleConfig struct {
	PerSecond float64 `yaml:"per_second" min:"0" doc:"Messages a second; parts of one are allowed. 0: no bound."`
	Burst     int     `yaml:"burst,omitempty" min:"0" doc:"How many may come at once after a pause." default:"per_second, at least 1"`
}

type deadLetterConfig struct {
	Topic      string `yaml:"topic" doc:"A topic of the file. The default need not be in it: it is made on the broker of from and keeps everything." default:"FROM.HANDLER.dlq"`
	MaxReplays int    `yaml:"max_replays,omitempty" min:"0" doc:"After how many replays a letter that dies again goes to the topic FROM.HANDLER.parking and is replayed only if asked for by its id. 0: never."`
}

func (c *checker) checkHandlers() {
	subscriptions := map[string]string{}
	for _, name := range sorted(c.Handlers) {
		p, h := pointer("/handlers").key(name), c.Handlers[name]
		c.checkName(p, name)
		h.check(c, p, name)
		subscription := pipeline.Handler{Name: name, From: h.From}.Subscription("")
		if other, taken := subscriptions[subscription]; taken && h.From != "" {
			c.namef(p, "rename one of them", "its subscription %s is also that of handler %s", subscription, other)
		}
		subscriptions[subscription] = name
	}
}

func (h *handlerConfig) check(c *checker, p pointer, name string) {
	topics := sorted(c.Topics)
	if c.require(p.key("from"), h.From) {
		c.checkReference(p.key("from"), "topic", h.From, topics)
	}
	for output, topic := range h.To {
		at := p.key("to")
		if output != "" {
			at = at.key(output)
		}
		c.checkReference(at, "topic", topic, topics)
	}
	h.checkDeadLetter(c, p, name, topics)
	h.checkOrdering(c, p)
	h.checkKind(c, p)
	h.checkDelayed(c, p)
	if h.InFlight == 0 {
		h.InFlight = 8 * h.Concurrency
	}
	if h.InFlightBytes == 0 {
		c.errorf(p.key("in_flight_bytes"), "write for example 64MiB", "nothing could be taken")
	}
	if h.Throttle.PerSecond > 0 && h.Throttle.Burst == 0 {
		h.Throttle.Burst = max(1, int(h.Throttle.PerSecond))
	}
}

// checkDelayed holds delayed retries to what makes sense together.
func (h *handlerConfig) checkDelayed(c *checker, p pointer) {
	if d := h.Retry.Delayed; d != nil {
		at := p.key("retry").key("delayed")
		if d.Initial <= 0 {
			c.errorf(at.key("initial"), "write for example 5s", "retries without a wait are what retry.immediate is for")
		}
		if d.Max < d.Initial {
			c.errorf(at.key("max"), "make it at least initial", "it is shorter than the first wait")
		}
	}
	if h.Overtake && h.Ordering == pipeline.OrderingNone {
		c.errorf(p.key("overtake"), "remove it, or set ordering", "without an order nobody is held up")
	}
	if h.HoldKey && h.Ordering == pipeline.OrderingNone {
		c.errorf(p.key("hold_key"), "remove it, or set ordering: key", "without an order there is no key to hold")
	}
	if h.HoldKey && h.Overtake {
		c.errorf(p.key("hold_key"), "remove it, or remove overtake", "overtake lets a key go on while one of its messages waits")
	}
}

// maxDerived is the longest name of a topic on Kafka.
const maxDerived = 249

func (h *handlerConfig) checkDeadLetter(c *checker, p pointer, name string, topics []string) {
	derived := h.From + "." + name + ".dlq"
	if h.DeadLetter.Topic == "" {
		h.DeadLetter.Topic = derived
	}
	longest := derived
	if h.DeadLetter.MaxReplays > 0 {
		longest = h.From + "." + name + ".parking"
	}
	if len(longest) > maxDerived {
		c.namef(p, "shorten the handler's name or the topic's", "%s has more than %d characters", longest, maxDerived)
	}
	if h.DeadLetter.Topic != derived {
		c.checkReference(p.key("dead_letter").key("topic"), "topic", h.DeadLetter.Topic, topics)
	}
	if h.DeadLetter.Topic == h.From {
		c.errorf(p.key("dead_letter").key("topic"), "name another topic", "dead letters would go back to where they came from")
	}
}

func (h *handlerConfig) checkOrdering(c *checker, p pointer) {
	topic := c.Topics[h.From]
	if h.Ordering != pipeline.OrderingKey || topic == nil || len(topic.Key) > 0 {
		return
	}
	from := pointer("/topics").key(h.From).key("key")
	if !c.blamesInside(from) {
		c.errorf(p.key("ordering"), "set "+from.path()+" to a JSON Pointer such as /orderId", "the topic %s has no key", h.From)
	}
}

// checkKind decodes and checks what stands under `with:`, and holds `to:` to
// the kind's outputs.
func (h *handlerConfig) checkKind(c *checker, p pointer) {
	if !c.require(p.key("kind"), h.Kind) {
		return
	}
	kind, ok := c.kinds.Get(h.Kind)
	if !ok {
		names := make([]string, 0)
		for _, known := range c.kinds.All() {
			names = append(names, known.Name)
		}
		c.errorf(p.key("kind"), choose(h.Kind, "kinds", names), "there is no kind %q", h.Kind)
		return
	}
	if h.decodeWith(c, p.key("with"), kind) {
		h.checkOutputs(c, p.key("to"), kind)
	}
}

// decodeWith reports whether the kind's config is all right.
func (h *handlerConfig) decodeWith(c *checker, p pointer, kind pipeline.Kind) bool {
	var findings Findings
	if err := h.With.into(kind.NewConfig()); errors.As(err, &findings) {
		c.adopt(findings)
	}
	if c.blamesInside(p) {
		return false
	}
	if v, ok := h.With.value.(pipeline.Validator); ok {
		for _, err := range v.Validate() {
			c.fieldError(p, err)
		}
	}
	return !c.blamesInside(p)
}

// fieldError puts what a kind's Validate says to the place of the key that is
// to blame.
func (c *checker) fieldError(p pointer, err error) {
	var field *pipeline.FieldError
	if !errors.As(err, &field) {
		c.errorAt(c.place(p), p, "", "%v", err)
		return
	}
	if field.Pointer != "" {
		p += pointer("/" + strings.TrimPrefix(field.Pointer, "/"))
	}
	c.errorAt(c.place(p), p, "", "%v", field.Err)
}

// checkOutputs wants a topic for each output that the kind writes to by name.
func (h *handlerConfig) checkOutputs(c *checker, p pointer, kind pipeline.Kind) {
	names := outputNames(kind, h.With.value)
	if len(names) == 0 || c.blamesInside(p) {
		return
	}
	if _, plain := h.To[""]; plain && !slices.Contains(names, "") {
		c.errorf(p, "write a map with a topic for each of: "+strings.Join(names, ", "), "the kind %s has named outputs", h.Kind)
		return
	}
	for _, name := range names {
		if _, ok := h.To[name]; !ok {
			c.errorf(p.key(name), "give it a topic", "the kind %s writes to this output", h.Kind)
		}
	}
}

// outputNames are the outputs that a kind with this config writes to by name;
// none if it takes `to:` as it is.
func outputNames(kind pipeline.Kind, config any) []string {
	if kind.Outputs == nil {
		return nil
	}
	return kind.Outputs(config)
}

// handler is the checked config as the pipeline has it.
func (h *handlerConfig) handler(name string) pipeline.Handler {
	return pipeline.Handler{
		Name:          name,
		Kind:          h.Kind,
		Config:        h.With.value,
		From:          h.From,
		To:            maps.Clone(h.To),
		Ordering:      h.Ordering,
		Concurrency:   h.Concurrency,
		InFlight:      h.InFlight,
		InFlightBytes: int64(h.InFlightBytes),
		Start:         pipeline.Start(h.Start),
		Timeout:       h.Timeout,
		Retry:         pipeline.Retry{Immediate: h.Retry.Immediate, Initial: h.Retry.Initial, Delayed: h.Retry.Delayed.delayed()},
		Overtake:      h.Overtake,
		HoldKey:       h.HoldKey,
		Breaker:       pipeline.Breaker{Failures: h.Breaker.Failures, Window: h.Breaker.Window, OpenFor: h.Breaker.OpenFor},
		Throttle:      pipeline.Throttle{PerSecond: h.Throttle.PerSecond, Burst: h.Throttle.Burst},
		DeadLetter:    h.DeadLetter.Topic,
		MaxReplays:    h.DeadLetter.MaxReplays,
	}
}
