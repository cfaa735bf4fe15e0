package embedbroker

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

const benchMessages = 20_000

var benchPayload = bytes.Repeat([]byte("x"), 1024)

// BenchmarkDrain drains a preloaded topic into another: read, publish,
// acknowledge, safe at power loss. Each round does the same job with plain
// SQLite on one connection, in batches of 64 and of 256, and with Waybill,
// once with Commit and once with Publish and Ack. The ratios are the medians
// of the rounds':
//
//	go test -run '^$' -bench Drain -benchtime 5x ./pipeline/broker/embedbroker
func BenchmarkDrain(b *testing.B) {
	var byPlain64, byPlain256, byCommit, byKey, byPublish []float64
	for range b.N {
		byPlain64 = append(byPlain64, benchPlain(b, 64))
		byCommit = append(byCommit, benchBroker(b, pipeline.OrderingNone, true))
		byKey = append(byKey, benchBroker(b, pipeline.OrderingKey, true))
		byPublish = append(byPublish, benchBroker(b, pipeline.OrderingNone, false))
		byPlain256 = append(byPlain256, benchPlain(b, 256))
	}
	b.ReportMetric(0, "ns/op") // says nothing here
	b.ReportMetric(median(byPlain64), "plain64-msg/s")
	b.ReportMetric(median(byPlain256), "plain256-msg/s")
	b.ReportMetric(median(byCommit), "commit-msg/s")
	b.ReportMetric(median(byKey), "bykey-msg/s")
	b.ReportMetric(median(byPublish), "publish+ack-msg/s")
	b.ReportMetric(median(ratios(byCommit, byPlain64)), "commit÷plain64")
	b.ReportMetric(median(ratios(byCommit, byPlain256)), "commit÷plain256")
	b.ReportMetric(median(ratios(byKey, byPlain256)), "bykey÷plain256")
	b.ReportMetric(median(ratios(byPublish, byPlain256)), "publish÷plain256")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	return r
}

// BenchmarkCommit is the drain with Commit alone, for profiles.
func BenchmarkCommit(b *testing.B) {
	for range b.N {
		b.ReportMetric(benchBroker(b, pipeline.OrderingNone, true), "msg/s")
	}
}

// benchPlain is the job as a program would do it that has nothing but SQLite.
func benchPlain(b *testing.B, size int) float64 {
	ctx := context.Background()
	path := filepath.Join(b.TempDir(), "plain.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=page_size(16384)&_journal_mode=WAL&_pragma=synchronous(FULL)")
	require.NoError(b, err)
	defer db.Close()
	conn, err := db.Conn(ctx)
	require.NoError(b, err)
	defer conn.Close()
	_, err = conn.ExecContext(ctx, `
		CREATE TABLE source (pos INTEGER PRIMARY KEY, time INTEGER, id TEXT, meta BLOB, payload BLOB);
		CREATE TABLE sink   (pos INTEGER PRIMARY KEY, time INTEGER, id TEXT, meta BLOB, payload BLOB);
		CREATE TABLE cursor (name TEXT PRIMARY KEY, upto INTEGER);
		INSERT INTO cursor VALUES ('c', 0)`)
	require.NoError(b, err)
	prepare := func(query string) *sql.Stmt {
		stmt, err := conn.PrepareContext(ctx, query)
		require.NoError(b, err)
		return stmt
	}
	exec := func(stmt *sql.Stmt, args ...any) {
		_, err := stmt.Exec(args...)
		require.NoError(b, err)
	}
	begin, commit := prepare("BEGIN IMMEDIATE"), prepare("COMMIT")
	load := prepare("INSERT INTO source VALUES (?, ?, ?, ?, ?)")
	exec(begin)
	for i := range benchMessages {
		exec(load, i+1, time.Now().UnixMilli(), fmt.Sprintf("%036d", i), []byte("\x0cpartitionkey\x03abc"), benchPayload)
	}
	exec(commit)
	read := prepare("SELECT pos, id, meta, payload FROM source WHERE pos > (SELECT upto FROM cursor WHERE name = 'c') ORDER BY pos LIMIT ?")
	write := prepare("INSERT INTO sink VALUES (?, ?, ?, ?, ?)")
	move := prepare("UPDATE cursor SET upto = ? WHERE name = 'c'")
	type row struct {
		pos           int64
		id            string
		meta, payload []byte
	}
	start := time.Now()
	for {
		exec(begin)
		rows, err := read.Query(size)
		require.NoError(b, err)
		var batch []row
		for rows.Next() {
			var r row
			require.NoError(b, rows.Scan(&r.pos, &r.id, &r.meta, &r.payload))
			batch = append(batch, r)
		}
		require.NoError(b, rows.Close())
		for _, r := range batch {
			exec(write, r.pos, time.Now().UnixMilli(), r.id, r.meta, r.payload)
		}
		if len(batch) > 0 {
			exec(move, batch[len(batch)-1].pos)
		}
		exec(commit)
		if len(batch) == 0 {
			return benchMessages / time.Since(start).Seconds()
		}
	}
}

// benchBroker is the job through a Subscriber, 256 handlers at a time.
func benchBroker(b *testing.B, ordering pipeline.Ordering, byCommit bool) float64 {
	in, out := pipeline.Topic{Name: "in"}, pipeline.Topic{Name: "out"}
	opened := openAt(b, filepath.Join(b.TempDir(), "waybill.db"), broker.Options{
		Topic: func(name string) (pipeline.Topic, bool) { return pipeline.Topic{Name: name}, true },
		Log:   slog.New(slog.DiscardHandler),
	})
	defer opened.Close()
	sub := broker.Subscription{Name: "in.h", Topic: in, Ordering: ordering, Concurrency: 256, InFlight: 2048}
	require.NoError(b, opened.Provision(b.Context(), []pipeline.Topic{in, out}, []broker.Subscription{sub}))
	msgs := make([]*message.Message, benchMessages)
	for i := range msgs {
		msgs[i] = message.NewMessage(fmt.Sprintf("%036d", i), benchPayload)
		msgs[i].Metadata.Set(pipeline.MetaPartitionKey, fmt.Sprint(i%1000))
	}
	require.NoError(b, opened.Publisher().Publish("in", msgs...))

	s := broker.NewSubscriber(sub, opened.Source(sub), slog.New(slog.DiscardHandler))
	start := time.Now()
	messages, err := s.Subscribe(b.Context(), "in")
	require.NoError(b, err)
	var handlers sync.WaitGroup
	for range benchMessages {
		msg := <-messages
		handlers.Go(func() { // as the router does
			output := message.NewMessage(msg.UUID, msg.Payload)
			output.Metadata.Set(pipeline.MetaPartitionKey, msg.Metadata.Get(pipeline.MetaPartitionKey))
			output.SetContext(msg.Context())
			var err error
			if byCommit {
				err = opened.(broker.Committer).Commit(msg.Context(), msg, []broker.Outgoing{{Topic: "out", Message: output}})
			} else {
				err = opened.Publisher().Publish("out", output)
			}
			if err != nil {
				b.Error(err)
			}
			msg.Ack()
		})
	}
	handlers.Wait()
	require.NoError(b, s.Drain(b.Context()))
	return benchMessages / time.Since(start).Seconds()
}
