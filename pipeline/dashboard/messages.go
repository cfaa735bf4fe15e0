package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Limits of a publish over HTTP.
const (
	maxBody        = 64 << 20 // bytes; the topic's and the broker's own limit is usually less
	publishTimeout = 10 * time.Second
	metaPrefix     = "Waybill-Meta-"
)

type publishInput struct {
	Topic       string `path:"topic" doc:"a topic of the config"`
	Key         string `query:"key" doc:"orders the message on its topic; default: what the topic's pointers find"`
	Idempotency string `header:"Idempotency-Key" doc:"the message id; default: a new one"`
	CloudEvent  string `header:"ce-id" doc:"the message id, where Idempotency-Key is not given"`
	ContentType string `header:"Content-Type"`
	TraceParent string `header:"traceparent"`
	RawBody     []byte
	meta        map[string]string
}

// Resolve takes the headers that become metadata.
func (in *publishInput) Resolve(ctx huma.Context) []error {
	in.meta = make(map[string]string)
	ctx.EachHeader(func(name, value string) {
		if key, ok := strings.CutPrefix(http.CanonicalHeaderKey(name), metaPrefix); ok {
			in.meta[strings.ToLower(key)] = value
		}
	})
	return nil
}

type publishOutput struct {
	Body struct {
		ID string `json:"id" doc:"the message's id"`
	}
}

func registerMessages(api huma.API, opts Options) {
	huma.Register(api, huma.Operation{
		OperationID: "publish-message", Method: http.MethodPost, Path: "/api/v1/topics/{topic}/messages",
		Summary: "Publish a message", DefaultStatus: http.StatusAccepted, MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
		Description: "The body is the payload, byte for byte. 202 comes after the broker has confirmed that it keeps the message; " +
			"it does not say that a handler has seen it. 503: the broker is away or refuses publishes for now; send the same id again.",
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{"application/octet-stream": {}}},
		Errors:      []int{http.StatusNotFound, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *publishInput) (*publishOutput, error) {
		id, err := publish(ctx, opts, in)
		if err != nil {
			return nil, apiError(err)
		}
		out := &publishOutput{}
		out.Body.ID = id
		return out, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "tail-messages", Method: http.MethodGet, Path: "/api/v1/topics/{topic}/messages",
		Summary:     "Watch a topic",
		Description: "A line of JSON a message, for as long as the client stays, or until the oldest messages are through without follow. No consumer is disturbed.",
		Errors:      []int{http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *tailInput) (*huma.StreamResponse, error) { return tail(ctx, opts, in) })
}

func publish(ctx context.Context, opts Options, in *publishInput) (string, error) {
	topic, b, err := open(opts, in.Topic)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	msg := message.NewMessageWithContext(ctx, in.id(), bytes.Clone(in.RawBody)) // the buffer is used again
	msg.Metadata = in.metadata()
	if err := b.Publisher().Publish(topic.Name, msg); err != nil {
		return "", err
	}
	return msg.UUID, nil
}

func (in *publishInput) id() string {
	switch {
	case in.Idempotency != "":
		return in.Idempotency
	case in.CloudEvent != "":
		return in.CloudEvent
	}
	return uuid.Must(uuid.NewV7()).String()
}

func (in *publishInput) metadata() message.Metadata {
	set := func(key, value string) {
		if value != "" {
			in.meta[key] = value
		}
	}
	set(pipeline.MetaPartitionKey, in.Key)
	set(pipeline.MetaContentType, in.ContentType)
	set(pipeline.MetaTraceParent, in.TraceParent)
	return in.meta
}

func find(opts Options, name string) (pipeline.Topic, broker.Broker, error) {
	topic, ok := opts.Topic(name)
	if !ok {
		return topic, nil, pipeline.WithReason(pipeline.Permanent(
			fmt.Errorf("topic %q is not in the config: `waybill echo` lists the topics", name)), pipeline.ReasonUnroutable)
	}
	b, ok := opts.Broker(topic.Broker)
	if !ok {
		return topic, nil, fmt.Errorf("broker %q of topic %q is not open", topic.Broker, name)
	}
	return topic, b, nil
}

type tailInput struct {
	Topic  string `path:"topic"`
	From   string `query:"from" enum:"oldest,newest" default:"newest"`
	Follow bool   `query:"follow" doc:"with oldest: go on with new messages"`
}

// tail answers once the tap is ready or the first message is there, so that
// what cannot be watched is an error and not an empty stream.
func tail(ctx context.Context, opts Options, in *tailInput) (*huma.StreamResponse, error) {
	topic, b, err := find(opts, in.Topic)
	if err != nil {
		return nil, apiError(err)
	}
	f := startFeed(ctx, b, topic, broker.TailOptions{Oldest: in.From == "oldest", Follow: in.Follow})
	select {
	case <-f.ready:
	case <-f.ended:
		if f.err != nil {
			return nil, tailError(f.err)
		}
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		f.stream(ctx)
		if f.err != nil && !errors.Is(f.err, context.Canceled) {
			opts.Log.Warn("tail ended", "topic", topic.Name, "error", f.err)
		}
	}}, nil
}

func tailError(err error) error {
	if pipeline.IsPermanent(err) && pipeline.ReasonOf(err) != pipeline.ReasonUnroutable {
		return huma.Error409Conflict(err.Error())
	}
	return apiError(err)
}

// feed is a running stream of lines.
type feed struct {
	lines chan []byte
	begin func()        // closes ready
	ready chan struct{} // closed when there is something to answer
	ended chan struct{} // closed at the end; err is set then
	err   error
}

func newFeed() *feed {
	f := &feed{lines: make(chan []byte, 64), ready: make(chan struct{}), ended: make(chan struct{})}
	f.begin = sync.OnceFunc(func() { close(f.ready) })
	return f
}

// run runs what sends the lines.
func (f *feed) run(source func() error) {
	defer close(f.ended)
	defer close(f.lines)
	f.err = source()
}

func (f *feed) send(ctx context.Context, line []byte) error {
	f.begin()
	select {
	case f.lines <- append(line, '\n'):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func startFeed(ctx context.Context, b broker.Broker, topic pipeline.Topic, opts broker.TailOptions) *feed {
	f := newFeed()
	opts.Ready = f.begin
	go f.run(func() error {
		return b.Tail(ctx, topic, opts, func(msg *message.Message) error {
			line, err := json.Marshal(NewMessage(topic, msg), json.Deterministic(true))
			if err != nil {
				return fmt.Errorf("show message %s: %w", msg.UUID, err)
			}
			return f.send(ctx, line)
		})
	})
	return f
}

// stream writes the lines until the feed ends; the request's context ends it
// when the client goes.
func (f *feed) stream(ctx huma.Context) {
	ctx.SetHeader("Content-Type", "application/x-ndjson")
	ctx.SetStatus(http.StatusOK)
	w := ctx.BodyWriter()
	flush := func() {
		if rw, ok := w.(http.ResponseWriter); ok {
			_ = http.NewResponseController(rw).Flush() // the next write says what is wrong
		}
	}
	flush()
	gone := false
	for line := range f.lines {
		if gone {
			continue // lets the feed come to its end
		}
		_, err := w.Write(line)
		if gone = err != nil; !gone && len(f.lines) == 0 {
			flush()
		}
	}
	<-f.ended
}
