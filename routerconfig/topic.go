package routerconfig

import (
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

// topicConfig is one entry of `topics:`.
type topicConfig struct {
	Broker       string             `yaml:"broker" doc:"The broker it is on." default:"the only broker, where there is just one"`
	Draining     string             `yaml:"draining,omitempty" doc:"The broker that the topic is moving away from: what is new goes to broker, what is left on this one is still read. Handlers with an order read the new broker once this one is empty, others both at once."`
	Key          keys               `yaml:"key,omitempty" type:"text, list of text" doc:"JSON Pointers into the payload; the first that is there gives a message's key, for ordering: key and for Kafka's partitions."`
	Partitions   int                `yaml:"partitions,omitempty" min:"0" max:"10000" doc:"How many partitions to make. kafka; rabbitmq: ordered subscriptions get that many queues." default:"the broker's"`
	Replication  int                `yaml:"replication,omitempty" min:"0" max:"100" doc:"kafka: on how many brokers each partition is." default:"the broker's"`
	Retention    retentionConfig    `yaml:"retention,omitempty" doc:"How long messages are kept. Those of dead letters: for ever, unless set here." default:"the broker's"`
	MaxMessage   size               `yaml:"max_message,omitempty" type:"size" doc:"The largest message, payload and metadata together. A larger one is refused before it is sent." default:"the broker's"`
	Provision    pipeline.Provision `yaml:"provision" enum:"create|verify|off" doc:"create makes what is missing on the broker; verify refuses to start if something is missing or different; off assumes that all is there."`
	Exchange     *string            `yaml:"exchange,omitempty" doc:"rabbitmq: the exchange that messages go to. \"\" is the default exchange, which delivers straight to the queue that routing_key names." default:"the topic's name"`
	ExchangeType string             `yaml:"exchange_type,omitempty" doc:"rabbitmq: direct, topic, fanout, headers, or a plugin's, which starts with x-." default:"topic"`
	Queue        string             `yaml:"queue,omitempty" doc:"rabbitmq: the one queue to read from, shared by all readers. none: a topic that nobody reads gets no queue." default:"a queue for each handler"`
	QueueType    string             `yaml:"queue_type,omitempty" enum:"quorum|classic" doc:"rabbitmq: the queues' type." default:"quorum"`
	RoutingKey   *string            `yaml:"routing_key,omitempty" doc:"rabbitmq: the key of messages that are sent and of the queues' bindings." default:"the topic's name for messages, # for bindings; with exchange \"\" the queue"`
	Arguments    map[string]any     `yaml:"arguments,omitempty" doc:"rabbitmq: further arguments of the queues, for example x-max-length."`
}

// SetDefaults sets what holds where the file is silent.
func (t *topicConfig) SetDefaults() { t.Provision = pipeline.ProvisionCreate }

// rabbitKeys are the keys of a topic that mean something to RabbitMQ alone.
var rabbitKeys = []string{"exchange", "exchange_type", "queue", "queue_type", "routing_key", "arguments"}

func (c *checker) checkTopics() {
	for _, name := range sorted(c.Topics) {
		p := pointer("/topics").key(name)
		c.checkName(p, name)
		c.Topics[name].check(c, p)
	}
}

func (t *topicConfig) check(c *checker, p pointer) {
	brokers := sorted(c.Brokers)
	if t.Broker == "" && len(brokers) == 1 {
		t.Broker = brokers[0]
	}
	switch {
	case c.blamesInside("/brokers") && len(brokers) == 0:
	case t.Broker == "":
		c.errorf(p.key("broker"), "brokers: "+strings.Join(brokers, ", "), "it is missing, and there are several")
	default:
		c.checkReference(p.key("broker"), "broker", t.Broker, brokers)
	}
	if t.Draining != "" {
		t.checkDraining(c, p.key("draining"), brokers)
	}
	c.checkPointers(p.key("key"), t.Key)
	t.checkRabbit(c, p)
}

func (t *topicConfig) checkDraining(c *checker, p pointer, brokers []string) {
	c.checkReference(p, "broker", t.Draining, brokers)
	if t.Draining == t.Broker {
		c.errorf(p, "name the broker that the topic was on before, or remove it", "the topic is on %s and cannot move away from it", t.Broker)
	}
}

// checkRabbit looks at the topic's place on RabbitMQ, also while it is on
// another broker: the broker can be swapped any time.
func (t *topicConfig) checkRabbit(c *checker, p pointer) {
	types := []string{"", "direct", "topic", "fanout", "headers"}
	if !slices.Contains(types, t.ExchangeType) && !strings.HasPrefix(t.ExchangeType, "x-") {
		c.errorf(p.key("exchange_type"), choose(t.ExchangeType, "one of", types[1:]), "%q is not a type of exchange", t.ExchangeType)
	}
	if t.Exchange == nil || *t.Exchange != "" {
		return
	}
	if t.Queue == "" || t.Queue == "none" {
		c.errorf(p.key("queue"), "name the queue", "the default exchange delivers only to a queue of its own name")
	}
	if t.RoutingKey == nil {
		t.RoutingKey = &t.Queue
	}
}

// topic is the checked config as the pipeline has it.
func (t *topicConfig) topic(name string) pipeline.Topic {
	return pipeline.Topic{
		Name:       name,
		Broker:     t.Broker,
		Draining:   t.Draining,
		Key:        t.Key,
		Partitions: t.Partitions,
		Replicas:   t.Replication,
		Retention:  t.Retention.retention(),
		MaxMessage: int(t.MaxMessage),
		Provision:  t.Provision,
		Rabbit: pipeline.RabbitTopic{
			Exchange:     t.Exchange,
			ExchangeType: t.ExchangeType,
			Queue:        t.Queue,
			QueueType:    t.QueueType,
			RoutingKey:   t.RoutingKey,
			Arguments:    t.Arguments,
		},
	}
}
