package routerconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

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
		addDeadLetters(p.Topics, h)
	}
	return p, nil
}

// addDeadLetters puts the topics of a handler's dead letters among the topics,
// on the broker of what it reads, unless the file has them.
func addDeadLetters(topics map[string]pipeline.Topic, h pipeline.Handler) {
	names := []string{h.DeadLetter}
	if h.MaxReplays > 0 {
		names = append(names, h.Parking())
	}
	for _, name := range names {
		topic, declared := topics[name]
		if !declared {
			topic = pipeline.Topic{
				Name:      name,
				Broker:    topics[h.From].Broker,
				Provision: topics[h.From].Provision,
			}
		}
		topic.DeadLetter = true
		topics[name] = topic
	}
}

// version is a short hash of an effective config's text.
func version(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:12]
}
