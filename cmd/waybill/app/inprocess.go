package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

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
	own     *inProcess  // nil: one runs
	store   store.Store // with own
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
	if err := makeData(p); err != nil {
		return nil, exit(exitFailure, err)
	}
	log, err := c.quiet()
	if err != nil {
		return nil, err
	}
	s, err := openStore(p, log)
	if err != nil {
		return nil, exit(codeOfReason(err), err)
	}
	own := &inProcess{handler: dashboard.New(dashboard.Options{
		Version: Version(), Config: p.Version, Metrics: prometheus.NewRegistry(), Store: s,
		Replays:  newReplays(p, s, nil, nil, slog.New(slog.DiscardHandler)),
		Topic:    func(name string) (pipeline.Topic, bool) { t, ok := p.Topics[name]; return t, ok },
		Broker:   func(string) (broker.Broker, bool) { return nil, false },
		Problems: func() []string { return []string{"waybill does not run"} },
		Inspect:  func(context.Context) ([]dashboard.Report, error) { return nil, errors.New("waybill does not run") },
		Log:      slog.New(slog.DiscardHandler),
	})}
	return &api{client: &client{http: &http.Client{Transport: own}, base: "http://waybill"}, own: own, store: s}, nil
}

// close is called when all bodies are closed.
func (a *api) close() {
	a.client.close()
	if a.own != nil {
		a.own.serving.Wait()
		_ = a.store.Close() // the command's own work is done or has its error
	}
}

// inProcess answers requests by a handler, without a network. The handler runs
// beside whoever reads its answer; closing the answer's body ends it.
type inProcess struct {
	handler http.Handler
	serving sync.WaitGroup
}

// RoundTrip implements http.RoundTripper.
func (t *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = r.URL.Host
	if r.Body == nil {
		r.Body = http.NoBody
	}
	body, pipe := io.Pipe()
	w := &answer{header: make(http.Header), pipe: pipe, begun: make(chan struct{})}
	t.serving.Go(func() {
		t.handler.ServeHTTP(w, r)
		w.WriteHeader(http.StatusOK)
		_ = r.Body.Close()
		_ = pipe.Close() // never fails
	})
	<-w.begun
	return &http.Response{
		StatusCode: w.status, Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		Header: w.sent, Body: body, ContentLength: -1, Request: r,
	}, nil
}

// answer is an http.ResponseWriter whose body goes through a pipe.
type answer struct {
	header, sent http.Header
	status       int
	begun        chan struct{} // closed with the first byte
	pipe         *io.PipeWriter
}

func (w *answer) Header() http.Header { return w.header }

func (w *answer) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	}
}

func (w *answer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}
