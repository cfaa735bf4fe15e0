package rabbitbroker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// management asks RabbitMQ's HTTP API, which alone knows types, arguments,
// bindings and what is handed out and not acknowledged.
type management struct {
	base           string // without user and password
	user, password string
	vhost          string
	client         *http.Client
}

const (
	managementTimeout = 10 * time.Second
	managementAnswer  = 16 << 20 // the most that is read of an answer
)

// newManagement returns nil where the config has no management_url. User and
// password are those of the URL, else those of the broker's own.
func newManagement(cfg pipeline.Broker, e *endpoint) (*management, error) {
	text := cfg.ManagementURL.Reveal()
	if text == "" {
		return nil, nil //nolint:nilnil // none is wanted
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("broker %s: management_url is not an HTTP URL: write http://user:password@host:15672", cfg.Name)
	}
	m := &management{vhost: e.uri.Vhost, user: e.user}
	if plain, ok := e.auth.(*amqp.PlainAuth); ok {
		m.password = plain.Password
	}
	if u.User != nil {
		m.user = u.User.Username()
		m.password, _ = u.User.Password()
	}
	u.User = nil
	m.base = strings.TrimSuffix(u.String(), "/") + "/api/"
	transport := &http.Transport{TLSHandshakeTimeout: managementTimeout}
	if e.tls != nil {
		transport.TLSClientConfig = e.tls.Clone()
		transport.TLSClientConfig.ServerName = "" // the API may be on another host
	}
	m.client = &http.Client{Transport: transport, Timeout: managementTimeout}
	return m, nil
}

func (m *management) close() { m.client.CloseIdleConnections() }

// apiExchange, apiQueue and apiBinding are the parts of the API's answers that
// are used.
type apiExchange struct {
	Type      string         `json:"type"`
	Durable   bool           `json:"durable"`
	Arguments map[string]any `json:"arguments"`
}

type apiQueue struct {
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Arguments  map[string]any `json:"arguments"`
	Unacked    *int64         `json:"messages_unacknowledged"` // nil until the broker has counted
}

type apiBinding struct {
	Source string `json:"source"`
	Key    string `json:"routing_key"`
}

// get asks for a path below the virtual host: kind, host, then the rest. It
// reports whether the thing exists.
func (m *management) get(ctx context.Context, into any, kind string, rest ...string) (bool, error) {
	path := m.base + kind + "/" + url.PathEscape(m.vhost)
	for _, part := range rest {
		path += "/" + url.PathEscape(part)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return false, fmt.Errorf("ask the management API: %w", err)
	}
	request.SetBasicAuth(m.user, m.password)
	response, err := m.client.Do(request)
	if err != nil {
		return false, pipeline.WithReason(fmt.Errorf("ask the management API as %q: %w: check management_url, or remove it", m.user, err),
			pipeline.ReasonUnavailable)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return false, nil
	default:
		return false, fmt.Errorf("ask the management API at %s as %q: %s: the user needs the tag monitoring", path, m.user, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, managementAnswer)).Decode(into); err != nil {
		return false, fmt.Errorf("read the management API's answer: %w", err)
	}
	return true, nil
}

// queue returns nil if there is no such queue.
func (m *management) queue(ctx context.Context, name string) (*apiQueue, error) {
	var q apiQueue
	if ok, err := m.get(ctx, &q, "queues", name); !ok || err != nil {
		return nil, err
	}
	return &q, nil
}

// bindingsOf lists where a queue or exchange gets its messages from.
func (m *management) bindingsOf(ctx context.Context, name string, isExchange bool) ([]apiBinding, error) {
	var all []apiBinding
	path := []string{name, "bindings"}
	kind := "queues"
	if isExchange {
		kind, path = "exchanges", append(path, "destination")
	}
	_, err := m.get(ctx, &all, kind, path...)
	return all, err
}

func (m *management) verifyExchange(ctx context.Context, want exchange) error {
	var found apiExchange
	switch ok, err := m.get(ctx, &found, "exchanges", want.name); {
	case err != nil:
		return err
	case !ok:
		return missing("exchange", want.name)
	case found.Type != want.kind:
		return fmt.Errorf("exchange %s has type %s, wanted %s: change exchange_type to match, or make it anew",
			want.name, found.Type, want.kind)
	case !found.Durable:
		return fmt.Errorf("exchange %s is not durable: make it anew, durable", want.name)
	}
	return compare("exchange "+want.name, found.Arguments, want.args)
}

func (m *management) verifyQueue(ctx context.Context, want queue) error {
	found, err := m.queue(ctx, want.name)
	switch {
	case err != nil:
		return err
	case found == nil:
		return missing("queue", want.name)
	case !found.Durable:
		return fmt.Errorf("queue %s is not durable: make it anew, durable", want.name)
	}
	return compare("queue "+want.name, found.Arguments, want.args)
}

func (m *management) verifyBinding(ctx context.Context, want binding) error {
	found, err := m.bindingsOf(ctx, want.to, want.toExchange)
	if err != nil {
		return err
	}
	for _, b := range found {
		if b.Source == want.from && b.Key == want.key {
			return nil
		}
	}
	return fmt.Errorf("%w: binding of %s to exchange %s with key %q: bind it, or set provision: create",
		broker.ErrMissing, want.to, want.from, want.key)
}

// compare says each argument that differs, with what was found and wanted.
func compare(what string, found map[string]any, want amqp.Table) error {
	var faults []error
	names := make(map[string]bool)
	for name := range found {
		names[name] = true
	}
	for name := range want {
		names[name] = true
	}
	for _, name := range sortedKeys(names) {
		if is, wanted := plain(found[name]), plain(want[name]); is != wanted {
			faults = append(faults, fmt.Errorf("%s has %s = %s, wanted %s: change the topic or the handler's ordering to match, or make it anew",
				what, name, is, wanted))
		}
	}
	return joined(faults)
}

// plain writes an argument as JSON has it, so that both sides are alike.
func plain(value any) string {
	if value == nil {
		return "nothing"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}
