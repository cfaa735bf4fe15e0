// Package notify is the kind notify: it announces that something happened to
// an order.
//
// For now it writes one line to the log, and gives the order, marked with the
// predicate of the event, to the handler's `to:` if it has one. Subscribers
// to predicates, and callbacks to them, are not there yet; they will read
// what goes there.
//
//	notify:
//	  kind: notify
//	  from: notifications
//	  to: announcements          # may be left out
//	  with: {predicate: order.processed}
package notify

import (
	"errors"
	"strings"
	"text/template"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/pipeline"
)

// MetaPredicate is the metadata key under which an output says what happened.
const MetaPredicate = "predicate"

// Config is what stands under `with:`.
type Config struct {
	Predicate string `yaml:"predicate" doc:"What happened, as words with dots between, the most general first. Subscribers will ask for it."`
	Text      string `yaml:"text" doc:"The line for the log, a Go text template. It sees .Predicate, .Order and .Meta."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Predicate: "order.processed",
		Text:      "🔔 Notification: {{.Predicate}} {{.Order.ID}}",
	}
}

// Validate implements pipeline.Validator.
func (c *Config) Validate() (faults []error) {
	if c.Predicate == "" || strings.HasPrefix(c.Predicate, ".") || strings.HasSuffix(c.Predicate, ".") || strings.Contains(c.Predicate, "..") {
		faults = append(faults, &pipeline.FieldError{Pointer: "/predicate", Err: errors.New("must be words with dots between, for example order.processed")})
	}
	if _, err := c.template(); err != nil {
		faults = append(faults, &pipeline.FieldError{Pointer: "/text", Err: err})
	}
	return faults
}

func (c *Config) template() (*template.Template, error) {
	return template.New("text").Option("missingkey=error").Parse(c.Text)
}

// Data is what the template sees.
type Data struct {
	Predicate string
	Order     *order.Order
	Meta      map[string]string
}

// Kind returns the kind notify.
func Kind() pipeline.Kind {
	return pipeline.Kind{
		Name: "notify",
		Doc: "Announces an order: writes one line to the log and, where the handler has a `to`, sends the order there with the " +
			"event's predicate in its metadata. Subscribers and callbacks come in a later release.",
		NewConfig: func() any { return NewConfig() },
		New:       newNotifier,
	}
}

type notifier struct {
	config *Config
	env    pipeline.Env
	text   *template.Template
}

func newNotifier(env pipeline.Env, config any) (message.HandlerFunc, error) {
	n := &notifier{config: config.(*Config), env: env}
	var err error
	n.text, err = n.config.template()
	return n.handle, err
}

func (n *notifier) handle(msg *message.Message) ([]*message.Message, error) {
	o, err := order.Parse(msg.Payload)
	if err != nil {
		return nil, err
	}
	var line strings.Builder
	if err := n.text.Execute(&line, Data{n.config.Predicate, o, msg.Metadata}); err != nil {
		return nil, pipeline.Invalid("text: %w", err)
	}
	n.env.Log.InfoContext(msg.Context(), order.Printable(line.String()))
	outs := output.Each(msg, n.env.Outputs, msg.Payload)
	for _, out := range outs {
		out.Metadata.Set(MetaPredicate, n.config.Predicate)
	}
	return outs, nil
}
