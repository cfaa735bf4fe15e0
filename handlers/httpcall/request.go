package httpcall

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/net/http/httpguts"

	"github.com/waybill-dev/waybill/handlers/internal/files"
	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/once"
	"github.com/waybill-dev/waybill/pipeline"
)

// keyHeader names the request for the other side, so that it can recognise a
// repeat.
const keyHeader = "Idempotency-Key"

// request makes the call for a message. An error is the message's fault.
func (c *caller) request(ctx context.Context, msg *message.Message) (*http.Request, error) {
	target, err := c.target(msg)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if c.config.Method != http.MethodGet && c.config.Method != http.MethodHead {
		body = bytes.NewReader(msg.Payload)
	}
	req, err := http.NewRequestWithContext(ctx, c.config.Method, target.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header = c.headers.Clone()
	return req, c.fromMessage(req, msg)
}

// key is the value of Idempotency-Key, a function of the subject and the
// handler's name alone; "": nothing tells the message from others, and a key
// would make one of two equal orders.
func (c *caller) key(msg *message.Message) string {
	subject := once.Subject(msg, c.config.Once)
	if subject == "" {
		return ""
	}
	return subject + ":" + c.env.Handler
}

// fromMessage sets the headers that the message gives. What the config sets
// stays, but for the key.
func (c *caller) fromMessage(req *http.Request, msg *message.Message) error {
	values := map[string]string{
		keyHeader:      c.key(msg),
		"Content-Type": msg.Metadata.Get(pipeline.MetaContentType),
		"Traceparent":  msg.Metadata.Get(pipeline.MetaTraceParent),
		"Tracestate":   msg.Metadata.Get(pipeline.MetaTraceState),
	}
	if values["Content-Type"] == "" {
		values["Content-Type"] = "application/json"
	}
	for name, value := range values {
		if !httpguts.ValidHeaderFieldValue(value) {
			return pipeline.Invalid("%.80q cannot be sent as header %s", value, name)
		}
		if value != "" && req.Header.Get(name) == "" {
			req.Header.Set(name, value)
		}
	}
	return nil
}

// target returns the URL for a message. A rule sees what strangers wrote, so
// what it gives must stay on the host that the config names.
func (c *caller) target(msg *message.Message) (*url.URL, error) {
	if c.urlRule == nil {
		return c.url, nil
	}
	text, err := view.Of(msg).Text(c.urlRule)
	if err != nil {
		return nil, err
	}
	u, err := parseURL(text)
	if err != nil {
		return nil, pipeline.Invalid("url_rule: %w", err)
	}
	if u.Scheme != c.url.Scheme || u.Host != c.url.Host {
		return nil, pipeline.Invalid("url_rule leads to %s, which is not the host of url", u.Host)
	}
	return u, nil
}

// fixedHeaders are the config's own, and the values among them that are
// secret.
func fixedHeaders(dir string, c *Config) (headers http.Header, secrets []string, err error) {
	headers = http.Header{"User-Agent": {"waybill"}}
	for name, value := range c.Headers {
		headers.Set(name, value)
	}
	for name, path := range c.HeaderFiles {
		secret, err := files.Secret(dir, path)
		if err != nil {
			return nil, nil, err
		}
		value := secret.Reveal()
		headers.Set(name, value)
		secrets = append(secrets, value)
		if _, credentials, found := strings.Cut(value, " "); found { // as in "Bearer …"
			secrets = append(secrets, credentials)
		}
	}
	return headers, secrets, nil
}
