// Package view is what the rules of a handler's config see of a message:
//
//   - payload: the payload as JSON, which must be one valid JSON text
//   - meta: the metadata, as an object of strings.
package view

import (
	"bytes"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
)

const (
	payloadName = "payload"
	metaName    = "meta"
)

// Compile compiles an expression over a message.
func Compile(source string) (*rule.Program, error) {
	return rule.Compile(source, payloadName, metaName)
}

// CompileBool compiles a condition over a message.
func CompileBool(source string) (*rule.Program, error) {
	return rule.CompileBool(source, payloadName, metaName)
}

// View is one message as rules see it, for one goroutine. It reads no more of
// the message than the rules ask for.
type View struct {
	msg *message.Message
	env map[string]any
}

// Of returns the view of msg.
func Of(msg *message.Message) *View {
	return &View{msg: msg, env: make(map[string]any, 2)}
}

// Bool runs a condition. The error is permanent, for reason invalid: the
// payload is not JSON although the rule needs it, or the rule fails on it.
func (v *View) Bool(p *rule.Program) (bool, error) {
	if err := v.provide(p); err != nil {
		return false, err
	}
	yes, err := p.Bool(v.env)
	if err != nil {
		return false, failed(p, err)
	}
	return yes, nil
}

// Eval runs an expression. The error is as that of Bool.
func (v *View) Eval(p *rule.Program) (any, error) {
	if err := v.provide(p); err != nil {
		return nil, err
	}
	value, err := p.Eval(v.env)
	if err != nil {
		return nil, failed(p, err)
	}
	return value, nil
}

// Text runs an expression that must give text.
func (v *View) Text(p *rule.Program) (string, error) {
	value, err := v.Eval(p)
	if err != nil {
		return "", err
	}
	text, ok := value.(string)
	if !ok {
		return "", pipeline.Invalid("rule %q gives %T, not text", p, value)
	}
	return text, nil
}

// provide puts what the program uses into the environment.
func (v *View) provide(p *rule.Program) error {
	if _, there := v.env[metaName]; !there && p.Uses(metaName) {
		v.env[metaName] = metadata(v.msg)
	}
	if _, there := v.env[payloadName]; !there && p.Uses(payloadName) {
		doc := jsontext.Value(bytes.Trim(v.msg.Payload, " \t\r\n"))
		if !doc.IsValid() {
			return pipeline.Invalid("rule %q: the payload is not valid JSON", p)
		}
		v.env[payloadName] = rule.NewLazy(doc)
	}
	return nil
}

func metadata(msg *message.Message) map[string]any {
	meta := make(map[string]any, len(msg.Metadata))
	for key, value := range msg.Metadata {
		meta[key] = value
	}
	return meta
}

func failed(p *rule.Program, err error) error {
	return pipeline.Invalid("rule %q: %w", p, err)
}
