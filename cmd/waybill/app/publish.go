package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

// How many messages go to the broker at once, and how many bytes of them.
const (
	publishBatch = 500
	publishBytes = 8 << 20
)

type publishCommand struct {
	*cli
	key   string
	meta  []string
	lines bool
}

func (c *cli) publishCommand() *cobra.Command {
	p := &publishCommand{cli: c}
	cmd := &cobra.Command{
		Use:   "publish TOPIC [FILE...|-]",
		Short: "Publish messages",
		Long: "Publishes each file as one message, or with --lines each line as one; `-`, or no file, is the standard input.\n" +
			"Payloads go as they are, byte for byte. It returns once the broker has confirmed, and prints one id a line.\n" +
			"A waybill that runs on the config's data folder is asked to publish; else the broker is opened directly.",
		Example: "  waybill publish orders-in order.json\n" +
			"  waybill publish orders-in --lines deploy/sample/orders.jsonl\n" +
			"  echo '{\"orderId\":\"7\"}' | waybill publish orders-in --key 7 --meta source=shop -\n" +
			"  waybill publish orders-in --server http://127.0.0.1:8080 order.json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd.Context(), args[0], args[1:]) },
	}
	c.serverFlags(cmd)
	cmd.Flags().StringVar(&p.key, "key", "", "orders the messages on their topic")
	cmd.Flags().StringArrayVar(&p.meta, "meta", nil, "metadata: key=value")
	cmd.Flags().BoolVar(&p.lines, "lines", false, "each line is a message")
	return cmd
}

func (p *publishCommand) run(ctx context.Context, topic string, files []string) error {
	meta, err := p.metadata()
	if err != nil {
		return exit(exitUsage, err)
	}
	a, err := p.reach(topic)
	if err != nil {
		return err
	}
	defer a.close()
	send, err := p.sender(ctx, a, topic)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	var batch []*message.Message
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := send(batch)
		batch, size = batch[:0], 0
		return err
	}
	for _, file := range files {
		p.hint(file)
		for payload, err := range p.payloads(file) {
			if err != nil {
				return errors.Join(flush(), exit(exitFailure, fmt.Errorf("read %s: %w", file, err)))
			}
			msg := message.NewMessage(newID(), payload)
			for k, v := range meta {
				msg.Metadata.Set(k, v)
			}
			batch, size = append(batch, msg), size+len(payload)
			if len(batch) == publishBatch || size > publishBytes {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	return flush()
}

// hint is for who meant --lines.
func (p *publishCommand) hint(file string) {
	if ext := filepath.Ext(file); !p.lines && (ext == ".jsonl" || ext == ".ndjson") {
		fmt.Fprintf(p.err, "%s is published as one message; with --lines each line is one\n", file)
	}
}

func (p *publishCommand) metadata() (map[string]string, error) {
	meta := make(map[string]string)
	for _, arg := range p.meta {
		k, v, ok := strings.Cut(arg, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("--meta %q: want key=value", arg)
		}
		meta[k] = v
	}
	if p.key != "" {
		meta[pipeline.MetaPartitionKey] = p.key
	}
	return meta, nil
}

// payloads yields the messages of a file.
func (p *publishCommand) payloads(file string) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		in := p.in
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				yield(nil, err)
				return
			}
			defer f.Close()
			in = f
		}
		if p.lines {
			lines(in)(yield)
			return
		}
		yield(io.ReadAll(in))
	}
}

// sender returns what publishes a batch and prints its ids.
func (p *publishCommand) sender(ctx context.Context, a *access, topic string) (func([]*message.Message) error, error) {
	if a.remote != nil {
		return func(batch []*message.Message) error { return p.sendRemote(ctx, a.remote, topic, batch) }, nil
	}
	b, err := a.ready(ctx, a.pipeline.Topics[topic])
	if err != nil {
		return nil, err
	}
	return func(batch []*message.Message) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		for _, msg := range batch {
			msg.SetContext(ctx)
		}
		err := b.Publisher().Publish(topic, batch...)
		failed := broker.Each(err, len(batch))
		var ids []string
		for i, msg := range batch {
			if failed[i] == nil {
				ids = append(ids, msg.UUID)
			}
		}
		return p.report(ids, err)
	}, nil
}

// sendRemote asks a running Waybill to publish the batch.
func (p *publishCommand) sendRemote(ctx context.Context, cl *client, topic string, batch []*message.Message) error {
	var request struct {
		Messages []dashboard.BatchItem `json:"messages"`
	}
	for _, msg := range batch {
		request.Messages = append(request.Messages, batchItem(msg))
	}
	body, err := json.Marshal(request)
	if err != nil {
		return exit(exitFailure, err)
	}
	res, err := cl.do(ctx, http.MethodPost, "/api/v1/topics/"+url.PathEscape(topic)+"/batch", http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Results []dashboard.BatchResult `json:"results"`
	}
	if err := json.UnmarshalRead(res.Body, &answer); err != nil {
		return exit(exitFailure, fmt.Errorf("read the answer: %w", err))
	}
	var ids []string
	var failed error
	for _, r := range answer.Results {
		if r.Error == "" {
			ids = append(ids, r.ID)
		} else if failed == nil {
			failed = pipeline.WithReason(fmt.Errorf("message %s: %s", r.ID, r.Error), r.Reason)
		}
	}
	return p.report(ids, failed)
}

// report prints the ids that were confirmed, and makes the exit code of what
// was not.
func (p *publishCommand) report(ids []string, failed error) error {
	for _, id := range ids {
		if _, err := fmt.Fprintln(p.out, id); err != nil {
			return exit(exitFailure, fmt.Errorf("print the ids of what is published: %w", err))
		}
	}
	switch {
	case failed == nil:
		return nil
	case len(ids) > 0:
		return exit(exitPartial, failed)
	}
	return exit(codeOfReason(failed), failed)
}

func batchItem(msg *message.Message) dashboard.BatchItem {
	item := dashboard.BatchItem{ID: msg.UUID, Metadata: msg.Metadata}
	if text := string(msg.Payload); utf8.ValidString(text) {
		item.Payload = &text
	} else {
		item.PayloadBase64 = msg.Payload
	}
	return item
}
