package httpcall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/once"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
)

// MetaStatus is the metadata key under which an output says the status of the
// answer that it holds.
const MetaStatus = "httpstatus"

// Kind returns the kind call_http.
func Kind() pipeline.Kind {
	return pipeline.Kind{
		Name: "call_http",
		Doc: "Calls another system over HTTP with the message's payload, or, by default, only logs that it would. " +
			"For one message, or one order with `once`, it makes one call that is answered well; every try carries the same Idempotency-Key. If the handler has a `to`, the answer goes there.",
		Effect:    true,
		Once:      onceOf,
		NewConfig: func() any { return NewConfig() },
		New:       newHandler,
	}
}

// onceOf says nothing of simulated calls: they must not keep real ones from
// being made later. In doubt a call is made again, as it has a key.
func onceOf(config any) *pipeline.Once {
	c := config.(*Config)
	if c.Mode != ModeHTTP {
		return nil
	}
	return &pipeline.Once{Subject: func(msg *message.Message) string { return once.Subject(msg, c.Once) }}
}

func newHandler(env pipeline.Env, config any) (message.HandlerFunc, error) {
	c := config.(*Config)
	if c.Mode != ModeHTTP {
		return simulated(env, c.SimulatedText), nil
	}
	return newCaller(env, c)
}

// simulated is the handler that calls nobody.
func simulated(env pipeline.Env, text string) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		env.Log.InfoContext(msg.Context(), text)
		return nil, nil
	}
}

// caller is one handler that calls.
type caller struct {
	config  *Config
	env     pipeline.Env
	client  *http.Client
	url     *url.URL
	urlRule *rule.Program // nil: always url
	headers http.Header
	secrets []string // what must not show
}

func newCaller(env pipeline.Env, config *Config) (message.HandlerFunc, error) {
	c := &caller{config: config, env: env}
	var err error
	if c.url, err = parseURL(config.URL); err != nil {
		return nil, err
	}
	if config.URLRule != "" {
		if c.urlRule, err = view.Compile(config.URLRule); err != nil {
			return nil, err
		}
	}
	if c.headers, c.secrets, err = fixedHeaders(env.Dir, config); err != nil {
		return nil, err
	}
	if c.client, err = newClient(env.Dir, config); err != nil {
		return nil, err
	}
	env.OnStop(c.client.CloseIdleConnections)
	return c.handle, nil
}

func (c *caller) handle(msg *message.Message) ([]*message.Message, error) {
	ctx, cancel := context.WithTimeout(msg.Context(), c.config.Timeout)
	defer cancel()
	req, err := c.request(ctx, msg)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, c.failed(msg.Context(), ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, bodyErr := readBody(resp.Body, c.config.MaxResponse)
	c.env.Log.InfoContext(msg.Context(), "HTTP call answered", "host", c.url.Host, "status", resp.StatusCode, "took", time.Since(began))
	if action := c.config.action(resp.StatusCode); action != OK {
		return nil, statusError(action, resp, c.answer(resp, body), time.Now())
	}
	pipeline.OutcomeOf(msg.Context()).Answer = resp.Status
	if len(c.env.Outputs) == 0 {
		return nil, nil // nobody asks what else the answer said
	}
	if bodyErr != nil {
		return nil, c.failed(msg.Context(), ctx, bodyErr)
	}
	return c.responses(msg, resp, body), nil
}

// responses makes a message of the answer for each output.
func (c *caller) responses(msg *message.Message, resp *http.Response, body []byte) []*message.Message {
	outs := output.Each(msg, c.env.Outputs, body)
	for _, out := range outs {
		out.Metadata.Set(MetaStatus, strconv.Itoa(resp.StatusCode))
		delete(out.Metadata, pipeline.MetaContentType) // that was of the request
		if of := resp.Header.Get("Content-Type"); of != "" {
			out.Metadata.Set(pipeline.MetaContentType, of)
		}
	}
	return outs
}

// errTooLong says that there is more of an answer than we read.
var errTooLong = errors.New("the answer is longer than max_response")

// readBody reads an answer to its end, so that its connection can be used
// again, but no more than limit.
func readBody(body io.Reader, limit int64) ([]byte, error) {
	read, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(read)) > limit {
		return read[:limit], errTooLong
	}
	return read, err
}

// failed is the error of a call that got no whole answer. It names the host
// and not the URL, which may hold what is not for everybody.
func (c *caller) failed(parent, ctx context.Context, err error) error {
	if parent.Err() != nil {
		return fmt.Errorf("call %s: %w", c.url.Host, context.Cause(parent))
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		err = outer.Err
	}
	named := fmt.Errorf("call %s: %w", c.url.Host, err)
	var network net.Error
	switch {
	case errors.Is(err, errTooLong):
		return pipeline.Permanent(pipeline.WithReason(named, pipeline.ReasonTooLarge))
	case ctx.Err() != nil, errors.As(err, &network) && network.Timeout():
		return pipeline.WithReason(named, pipeline.ReasonTimeout)
	}
	return pipeline.WithReason(named, pipeline.ReasonUnavailable)
}

// maxExcerpt bounds how much of an answer an error shows, in bytes.
const maxExcerpt = 200

// answer is the error for an answer that is not fine, with the beginning of
// what it says. A server that sends our secrets back does not get them into
// the error.
func (c *caller) answer(resp *http.Response, body []byte) error {
	text := string(body)
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, pipeline.Secret(secret).String())
	}
	if len(text) > maxExcerpt {
		text = text[:maxExcerpt] + "…"
	}
	return fmt.Errorf("%s answered %d: %q", c.url.Host, resp.StatusCode, strings.ToValidUTF8(text, "\uFFFD"))
}
