package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// api is how a command that asks the store reaches it: the API of a running
// Waybill, or, if none runs on the config's data folder, the same API in this
// process, on the store that it opens itself.
type api struct {
	*client
	running bool
	store   store.Store // nil: somebody else's
}

// reachAPI opens it. Close it when the command is done.
func (c *cli) reachAPI() (*api, error) {
	var p pipeline.Pipeline
	if c.server == "" {
		loaded, err := c.load()
		if err != nil {
			return nil, err
		}
		p = loaded.Pipeline
	}
	remote, err := c.remote(p)
	if err != nil {
		return nil, err
	}
	if remote != nil {
		return &api{client: remote, running: true}, nil
	}
	if err := os.MkdirAll(p.Data, 0o750); err != nil {
		return nil, exit(exitFailure, fmt.Errorf("make data folder: %w", err))
	}
	s, err := openStore(p)
	if err != nil {
		return nil, exit(codeOfReason(err), err)
	}
	handler := dashboard.New(dashboard.Options{
		Version: Version(), Config: p.Version, Metrics: prometheus.NewRegistry(), Store: s,
		Topic:    func(name string) (pipeline.Topic, bool) { t, ok := p.Topics[name]; return t, ok },
		Broker:   func(string) (broker.Broker, bool) { return nil, false },
		Problems: func() []string { return []string{"waybill does not run"} },
		Inspect:  func(context.Context) ([]dashboard.Report, error) { return nil, errors.New("waybill does not run") },
		Log:      slog.New(slog.DiscardHandler),
	})
	return &api{client: &client{http: &http.Client{Transport: inProcess{handler}}, base: "http://waybill"}, store: s}, nil
}

func (a *api) close() {
	a.client.close()
	if a.store != nil {
		_ = a.store.Close() // the command's own work is done or has its error
	}
}

// inProcess answers requests by a handler, without a network. An answer is
// whole before it is read.
type inProcess struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Host = r.URL.Host
	a := &answer{header: make(http.Header), status: http.StatusOK}
	t.handler.ServeHTTP(a, r)
	return &http.Response{
		StatusCode: a.status, Status: fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)),
		Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: r,
	}, nil
}

// answer is an http.ResponseWriter that keeps what is written.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
