package routerconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"

	"github.com/waybill-dev/waybill/pipeline"
)

// compile makes the pipeline of a config that was checked.
func compile(c *config, dir string, e encoder) (pipeline.Pipeline, error) {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return pipeline.Pipeline{}, err
	}
	p := pipeline.Pipeline{
		Instance:        c.Instance,
		Data:            data,
		Dir:             dir,
		Version:         version(e.yaml(c, "")),
		ShutdownTimeout: c.ShutdownTimeout,
		HTTP:            pipeline.HTTP{Listen: c.HTTP.Listen, TokenFile: resolvePath(dir, c.HTTP.TokenFile)},
		Store:           c.Store.store(data),
		MessageLog:      c.MessageLog.log(),
		Brokers:         map[string]pipeline.Broker{},
		Topics:          map[string]pipeline.Topic{},
	}
	for name, b := range c.Brokers {
		p.Brokers[name] = b.broker(name, data, dir)
	}
	for name, t := range c.Topics {
		p.Topics[name] = t.topic(name)
	}
	for _, name := range sorted(c.Handlers) {
		h := c.Handlers[name].handler(name)
		h.Version = version(e.yaml(map[string]*handlerConfig{name: c.Handlers[name]}, "/handlers"))
		p.Handlers = append(p.Handlers, h)
	}
	for _, h := range p.Handlers {
		addDeadLetters(p, h.DeadLetter, h)
		if h.MaxReplays > 0 {
			addDeadLetters(p, h.Parking(), h)
		}
	}
	return p, nil
}

// addDeadLetters puts a topic of a handler's dead letters among the topics, on
// the broker of what it reads, unless the file has it.
func addDeadLetters(p pipeline.Pipeline, name string, h pipeline.Handler) {
	topic, declared := p.Topics[name]
	if !declared {
		topic = pipeline.Topic{
			Name:      name,
			Broker:    p.Topics[h.From].Broker,
			Provision: p.Topics[h.From].Provision,
		}
	}
	topic.DeadLetter = true
	isRead := slices.ContainsFunc(p.Handlers, func(h pipeline.Handler) bool { return h.From == name })
	if p.Brokers[topic.Broker].Driver == pipeline.DriverRabbitMQ && topic.Rabbit.Queue == "" && !isRead {
		// The archiver reads the queue in which letters were kept before there
		// was one, so that none is left behind and none is there twice.
		topic.Rabbit.Queue = name
	}
	p.Topics[name] = topic
}

// version is a short hash of an effective config's text.
func version(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:12]
}
