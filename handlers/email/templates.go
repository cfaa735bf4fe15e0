package email

import (
	"fmt"
	htmltemplate "html/template"
	"io"
	"strings"
	"text/template"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
)

// Data is what the templates see of a message. A member of the payload or of
// the metadata that a template asks for and that is not there makes the
// message a dead letter: better no mail than one with a hole in it.
type Data struct {
	Order   *order.Order      // the order, where the payload is one
	Payload any               // the payload decoded: map[string]any, []any, string, exact numbers
	Meta    map[string]string // the metadata
	ID      string            // the message's id
}

func newData(msg *message.Message) (*Data, error) {
	o, err := order.Parse(msg.Payload)
	if err != nil {
		return nil, err
	}
	payload, err := rule.Decode(msg.Payload)
	if err != nil {
		return nil, pipeline.Invalid("%w", err)
	}
	return &Data{Order: o, Payload: payload, Meta: msg.Metadata, ID: msg.UUID}, nil
}

// executor is what the two template packages have in common.
type executor interface {
	Execute(w io.Writer, data any) error
}

// templates are the parts of a mail. Many goroutines may render them at once.
type templates struct {
	subject, text executor
	html          executor // nil: no HTML part
}

// newTemplates parses the config's templates. The error is a FieldError.
func newTemplates(c *Config) (*templates, error) {
	t := &templates{}
	var err error
	if t.subject, err = textTemplate("subject", c.Subject); err != nil {
		return nil, err
	}
	if t.text, err = textTemplate("text", c.Text); err != nil {
		return nil, err
	}
	if c.HTML == "" {
		return t, nil
	}
	html, err := htmltemplate.New("html").Option("missingkey=error").Parse(c.HTML)
	if err != nil {
		return nil, &pipeline.FieldError{Pointer: "/html", Err: err}
	}
	t.html = html
	return t, nil
}

func textTemplate(name, source string) (executor, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(source)
	if err != nil {
		return nil, &pipeline.FieldError{Pointer: "/" + name, Err: err}
	}
	return t, nil
}

// render executes one template. What fails is the message's fault: it lacks
// what the template asks for.
func render(t executor, data *Data) (string, error) {
	var out strings.Builder
	if err := t.Execute(&out, data); err != nil {
		return "", pipeline.Invalid("mail template: %w", err)
	}
	return out.String(), nil
}

// headerText renders a template for a header. A control character there could
// end the header and begin another one.
func headerText(t executor, data *Data) (string, error) {
	text, err := render(t, data)
	if err != nil {
		return "", err
	}
	if err := singleLine(text); err != nil {
		return "", fmt.Errorf("subject: %w", err)
	}
	return text, nil
}
