package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// seed is a file whose lines are published to a topic that never had a
// message: a first run has something to show, later ones add nothing.
type seed struct{ topic, file string }

func parseSeeds(args []string) ([]seed, error) {
	var seeds []seed
	for _, arg := range args {
		topic, file, ok := strings.Cut(arg, "=")
		if !ok || topic == "" || file == "" {
			return nil, fmt.Errorf("--seed %q: want topic=FILE", arg)
		}
		seeds = append(seeds, seed{topic, file})
	}
	return seeds, nil
}

// sow publishes the seeds once their brokers are ready.
func (a *App) sow(ctx context.Context) error {
	for _, s := range a.seeds {
		if err := a.sowOne(ctx, s); err != nil && ctx.Err() == nil {
			return fmt.Errorf("seed %s: %w", s.topic, err)
		}
	}
	return nil
}

func (a *App) sowOne(ctx context.Context, s seed) error {
	topic, ok := a.topic(s.topic)
	if !ok {
		return errors.New("the config has no such topic")
	}
	if topic.Draining != "" {
		a.log.Info("topic is moving from another broker, where it had its messages: not seeded", "topic", s.topic, "draining", topic.Draining)
		return nil
	}
	if err := a.engine.AwaitBroker(ctx, topic.Broker); err != nil {
		return err
	}
	b, marker := a.brokers[topic.Broker], filepath.Join(a.pipeline.Data, "seeded-"+topic.Name)
	switch used, err := hadMessages(ctx, b, topic, marker); {
	case err != nil:
		return err
	case used:
		a.log.Info("topic has had messages: not seeded", "topic", s.topic)
		return nil
	}
	n, err := publishLines(ctx, b, s)
	if err != nil {
		return err
	}
	a.log.Info("topic is seeded", "topic", s.topic, "file", s.file, "messages", n)
	return os.WriteFile(marker, nil, 0o600)
}

// hadMessages asks the broker. RabbitMQ keeps no record of what it had; there
// the marker says whether this data folder has seeded the topic.
func hadMessages(ctx context.Context, b broker.Broker, topic pipeline.Topic, marker string) (bool, error) {
	if h, ok := b.(broker.Historian); ok {
		return h.HadMessages(ctx, topic)
	}
	_, err := os.Stat(marker)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func publishLines(ctx context.Context, b broker.Broker, s seed) (int, error) {
	file, err := os.Open(s.file)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var msgs []*message.Message
	for line, err := range lines(file) {
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", s.file, err)
		}
		msgs = append(msgs, message.NewMessageWithContext(ctx, newID(), line))
	}
	if len(msgs) == 0 {
		return 0, fmt.Errorf("%s has no lines", s.file)
	}
	return len(msgs), b.Publisher().Publish(s.topic, msgs...)
}

// newID is the id of a message that begins here.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// lines yields the lines of r without their ends, and the error that reading
// ended with.
func lines(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		br := bufio.NewReaderSize(r, 64<<10)
		for {
			line, err := br.ReadBytes('\n')
			if trimmed := bytes.TrimRight(line, "\r\n"); len(trimmed) > 0 && !yield(trimmed, nil) {
				return
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(nil, err)
				}
				return
			}
		}
	}
}
