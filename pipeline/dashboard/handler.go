package dashboard

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/replay"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Options are what the surface shows and does.
type Options struct {
	Version  string
	Config   string // version of the effective config
	Metrics  prometheus.Gatherer
	Store    store.Store
	Messages *messagelog.Log // what is being handled; nil: nothing is, or the message log is off
	Replays  *replay.Runner  // need not run
	Topic    func(name string) (pipeline.Topic, bool)
	Broker   func(name string) (broker.Broker, bool)
	Problems func() []string                             // why the pipeline is not ready; empty: it is
	Notes    func() []string                             // what else to say of one that is ready; may be nil
	Inspect  func(ctx context.Context) ([]Report, error) // for doctor
	Log      *slog.Logger
}

// New returns the handler.
func New(opts Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", ping)
	mux.HandleFunc("GET /ready", ready(opts))
	mux.Handle("GET /metrics", promhttp.HandlerFor(opts.Metrics, promhttp.HandlerOpts{ErrorLog: promLog{opts.Log}}))

	config := huma.DefaultConfig("Waybill", opts.Version)
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "/api/v1/openapi", "", "/api/v1/schemas"
	// No $schema member in answers: scripts compare them.
	config.CreateHooks = nil
	api := humago.New(mux, config)
	registerVersion(api, opts)
	registerMessages(api, opts)
	registerBatch(api, opts)
	registerDoctor(api, opts)
	registerLetters(api, opts)
	registerLog(api, opts)
	registerSelections(api, opts)
	registerReplays(api, opts)
	// Browsers may not post here from other sites' pages.
	return http.NewCrossOriginProtection().Handler(mux)
}

// WithToken asks for the bearer token, except of /ping and /ready, which are
// asked by machines without one. /ready names what is broken.
func WithToken(next http.Handler, token pipeline.Secret) http.Handler {
	want := sha256.Sum256([]byte(token.Reveal()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if open := r.URL.Path == "/ping" || r.URL.Path == "/ready"; !open && subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token is missing or wrong: send Authorization: Bearer <the text of http.token_file>", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// OnlyLocal refuses requests whose Host is a name other than localhost: a
// web page whose name was made to resolve to this machine (DNS rebinding).
func OnlyLocal(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if host != "localhost" && net.ParseIP(strings.Trim(host, "[]")) == nil {
			http.Error(w, "this listener has no token, so it answers to localhost and to addresses only: set http.token_file to use a name", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func ping(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "pong\n") }

func ready(opts Options) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if problems := opts.Problems(); len(problems) > 0 {
			writeText(w, http.StatusServiceUnavailable, strings.Join(problems, "\n")+"\n")
			return
		}
		lines := []string{"ready"}
		if opts.Notes != nil {
			lines = append(lines, opts.Notes()...)
		}
		writeText(w, http.StatusOK, strings.Join(lines, "\n")+"\n")
	}
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client has gone: nobody to tell
}

type versionOutput struct {
	Body struct {
		Version string `json:"version" doc:"of the program"`
		Config  string `json:"config" doc:"hash of the effective config"`
	}
}

func registerVersion(api huma.API, opts Options) {
	huma.Register(api, huma.Operation{
		OperationID: "get-version", Method: http.MethodGet, Path: "/api/v1/version", Summary: "Version of the program and its config",
	}, func(context.Context, *struct{}) (*versionOutput, error) {
		out := &versionOutput{}
		out.Body.Version, out.Body.Config = opts.Version, opts.Config
		return out, nil
	})
}

// Report is what doctor says of one broker.
type Report struct {
	Broker        string          `json:"broker"`
	Driver        string          `json:"driver"`
	Address       string          `json:"address"`
	User          string          `json:"user,omitempty"`
	Connected     bool            `json:"connected"`
	Problems      []string        `json:"problems,omitempty"`
	Subscriptions []broker.Status `json:"subscriptions,omitempty"`
}

type doctorOutput struct {
	Body struct {
		Brokers []Report `json:"brokers"`
	}
}

func registerDoctor(api huma.API, opts Options) {
	huma.Register(api, huma.Operation{
		OperationID: "get-doctor", Method: http.MethodGet, Path: "/api/v1/doctor", Summary: "What waits, who reads, what is wrong",
	}, func(ctx context.Context, _ *struct{}) (*doctorOutput, error) {
		reports, err := opts.Inspect(ctx)
		if err != nil {
			return nil, apiError(err)
		}
		out := &doctorOutput{}
		out.Body.Brokers = reports
		return out, nil
	})
}

// apiError gives an error its status.
func apiError(err error) error {
	switch r := pipeline.ReasonOf(err); {
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, store.ErrInvalid):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, store.ErrConflict):
		return huma.Error409Conflict(err.Error())
	case r == pipeline.ReasonTooLarge:
		return huma.Error413RequestEntityTooLarge(err.Error())
	case r == pipeline.ReasonUnroutable:
		return huma.Error404NotFound(err.Error())
	case r == pipeline.ReasonUnavailable, r == pipeline.ReasonTimeout, r == pipeline.ReasonThrottled,
		errors.Is(err, context.Canceled):
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(err.Error()), http.Header{"Retry-After": {"1"}})
	}
	return huma.Error500InternalServerError(err.Error())
}

func apiErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return apiError(err)
}

// promLog is the log of the metrics handler.
type promLog struct{ log *slog.Logger }

func (p promLog) Println(v ...any) { p.log.Error("serve metrics", "error", v) }
