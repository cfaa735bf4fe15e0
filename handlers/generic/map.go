package generic

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/internal/delay"
	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
)

// MapConfig is the config of the kind map.
type MapConfig struct {
	Payload string            `yaml:"payload" doc:"Expression whose value becomes the payload, as JSON. Empty: the payload stays as it is, byte for byte."`
	Meta    map[string]string `yaml:"meta" doc:"Expressions whose values become metadata. Text is taken as it is, nil removes the key, anything else is written as JSON."`
	Delay   time.Duration     `yaml:"delay" doc:"How long to wait before the message goes on, for example 50ms. It stands for work in a test of throughput." min:"0"`
}

// Validate implements pipeline.Validator.
func (c *MapConfig) Validate() (faults []error) {
	if c.Payload != "" {
		_, err := view.Compile(c.Payload)
		faults = appendFault(faults, "/payload", err)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Meta)) {
		_, err := view.Compile(c.Meta[key])
		faults = appendFault(faults, "/meta/"+escape(key), err)
	}
	if c.Delay < 0 {
		faults = appendFault(faults, "/delay", errors.New("must not be negative"))
	}
	return faults
}

// Map returns the kind map.
func Map() pipeline.Kind {
	return pipeline.Kind{
		Name: "map",
		Doc: "Changes a message by expressions over `payload` and `meta`, and sends it to the handler's `to`. " +
			"Every expression sees the message as it came in.",
		NewConfig: func() any { return &MapConfig{} },
		New:       newMapper,
	}
}

type mapper struct {
	outputs []string
	delay   time.Duration
	payload *rule.Program // nil: the payload stays
	meta    map[string]*rule.Program
}

func newMapper(env pipeline.Env, config any) (message.HandlerFunc, error) {
	c := config.(*MapConfig)
	m := &mapper{outputs: env.Outputs, delay: c.Delay, meta: make(map[string]*rule.Program, len(c.Meta))}
	var err error
	if c.Payload != "" {
		if m.payload, err = view.Compile(c.Payload); err != nil {
			return nil, err
		}
	}
	for key, source := range c.Meta {
		if m.meta[key], err = view.Compile(source); err != nil {
			return nil, err
		}
	}
	return m.handle, nil
}

func (m *mapper) handle(msg *message.Message) ([]*message.Message, error) {
	if err := delay.Wait(msg.Context(), m.delay); err != nil {
		return nil, err
	}
	v := view.Of(msg)
	payload, err := m.newPayload(v, msg)
	if err != nil {
		return nil, err
	}
	meta, err := m.newMeta(v)
	if err != nil {
		return nil, err
	}
	outs := output.Each(msg, m.outputs, payload)
	for _, out := range outs {
		m.apply(out, meta)
	}
	return outs, nil
}

func (m *mapper) newPayload(v *view.View, msg *message.Message) ([]byte, error) {
	if m.payload == nil {
		return msg.Payload, nil
	}
	value, err := v.Eval(m.payload)
	if err != nil {
		return nil, err
	}
	return encode(m.payload, value)
}

// newMeta returns the values that the rules give; nil stands for a key that
// is to go.
func (m *mapper) newMeta(v *view.View) (map[string]*string, error) {
	meta := make(map[string]*string, len(m.meta))
	for key, program := range m.meta {
		value, err := v.Eval(program)
		if err != nil {
			return nil, err
		}
		if meta[key], err = metaText(program, value); err != nil {
			return nil, err
		}
	}
	return meta, nil
}

// apply sets the metadata of an output. A payload that we made is JSON,
// whatever the message was before.
func (m *mapper) apply(out *message.Message, meta map[string]*string) {
	if m.payload != nil {
		out.Metadata.Set(pipeline.MetaContentType, "application/json")
	}
	for key, value := range meta {
		if value == nil {
			delete(out.Metadata, key)
		} else {
			out.Metadata.Set(key, *value)
		}
	}
}

func metaText(program *rule.Program, value any) (*string, error) {
	switch value := value.(type) {
	case nil:
		return nil, nil // the key is to go
	case string:
		return &value, nil
	}
	raw, err := encode(program, value)
	text := string(raw)
	return &text, err
}

func encode(program *rule.Program, value any) ([]byte, error) {
	raw, err := rule.Encode(value)
	if err != nil {
		return nil, pipeline.Invalid("rule %q: %w", program, err)
	}
	return raw, nil
}
