package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
)

// client talks to a running Waybill, over its URL or the socket in its data
// folder.
type client struct {
	http  *http.Client
	base  string
	token pipeline.Secret
}

// remote returns the client that --server names, or the one of the socket of
// the config's data folder if somebody answers there, or nil.
func (c *cli) remote(p pipeline.Pipeline) (*client, error) {
	if c.server != "" {
		u, err := url.Parse(c.server)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, exit(exitUsage, fmt.Errorf("--server %q: want a URL such as http://127.0.0.1:8080", c.server))
		}
		token, err := c.readToken()
		if err != nil {
			return nil, exit(exitUsage, err)
		}
		return &client{http: &http.Client{}, base: strings.TrimRight(c.server, "/"), token: token}, nil
	}
	path := socketPath(p)
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return nil, nil //nolint:nilnil // nobody runs: the caller goes to the broker itself
	}
	_ = conn.Close()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	return &client{http: &http.Client{Transport: transport}, base: "http://waybill"}, nil
}

func (c *cli) readToken() (pipeline.Secret, error) {
	if c.token == "" {
		return "", nil
	}
	text, err := os.ReadFile(c.token)
	if err != nil {
		return "", fmt.Errorf("read --token-file: %w", err)
	}
	return pipeline.Secret(strings.TrimSpace(string(text))), nil
}

// do sends a request, and turns an answer that is not a success into an error
// with the exit code for it. The caller closes the body.
func (cl *client) do(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	return cl.stream(ctx, method, path, header, bytes.NewReader(body))
}

// stream is do with a body that is read as it is sent.
func (cl *client) stream(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := http.NewRequestWithContext(traced, method, cl.base+path, body)
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if cl.token != "" {
		req.Header.Set("Authorization", "Bearer "+cl.token.Reveal())
	}
	res, err := cl.http.Do(req)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case connected.Load() && method != http.MethodGet:
		return nil, exit(exitUnreachable, fmt.Errorf(
			"the connection ended before waybill answered, so this may be done, in part, or not: look before you ask again: %w", err))
	default:
		return nil, exit(exitUnreachable, fmt.Errorf("reach waybill: %w: see that it runs there", err))
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	return nil, exit(codeOf(res.StatusCode), refusal(res))
}

func (cl *client) close() { cl.http.CloseIdleConnections() }

func codeOf(status int) int {
	switch status {
	case http.StatusUnprocessableEntity:
		return exitUsage
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitRefused
	case http.StatusConflict:
		return exitRefused
	case http.StatusServiceUnavailable:
		return exitUnreachable
	}
	return exitFailure
}

// refusal reads what the server says is wrong.
func refusal(res *http.Response) error {
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("%s: %w", res.Status, err)
	}
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if json.Unmarshal(text, &problem) == nil && problem.Detail != "" {
		for _, e := range problem.Errors {
			problem.Detail += fmt.Sprintf("; %s: %s", e.Location, e.Message)
		}
		return errors.New(problem.Detail)
	}
	return fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(text))
}

// get decodes the JSON answer of path into v.
func (cl *client) get(ctx context.Context, path string, v any) error {
	res, err := cl.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := json.UnmarshalRead(res.Body, v); err != nil {
		return exit(exitFailure, fmt.Errorf("read the answer of %s: %w", path, err))
	}
	return nil
}
