package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/peer"
	"github.com/waybill-dev/waybill/cmd/bench/trial"
)

// TestMain is also the clients' process: this binary runs them as the
// benchmark's own does, and some that are broken on purpose.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == trial.ClientCommand {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		os.Exit(brokenClient(ctx, os.Args[2]))
	}
	// sarama's breaker sleeps its ten seconds out, whoever closes it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/eapache/go-resiliency/breaker.(*Breaker).timer"),
		goleak.Cleanup(func(code int) {
			if bin, err := waybillBinary(); err == nil {
				_ = os.RemoveAll(filepath.Dir(bin))
			}
			os.Exit(code)
		}))
}

// Implementations that are broken.
const (
	losesOne     = "loses one"     // one order has no output
	replacesOne  = "replaces one"  // one order has another's: their number is right
	swapsTwo     = "swaps two"     // of a key
	changesBytes = "changes bytes" // of one output
	dies         = "dies"          // at once
	keepsOne     = "keeps one"     // all outputs are there, and one order is not acknowledged
)

var testOrders = job.Orders{Keys: 50}

// brokenClient does what the spec's implementation says, broken ones too.
func brokenClient(ctx context.Context, text string) int {
	var spec job.Spec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return 1
	}
	good, err := job.NewPrepare()
	if err != nil {
		return 1
	}
	var prepare job.PrepareFunc
	switch spec.Impl {
	case losesOne, keepsOne:
		return moveRows(ctx, spec, good)
	case dies:
		fmt.Fprintln(os.Stderr, "out of luck")
		return 1
	case replacesOne:
		prepare = instead(good, map[int]int{77: 78})
	case swapsTwo:
		first, second := neighbours()
		prepare = instead(good, map[int]int{first: second, second: first})
	case changesBytes:
		prepare = func(order []byte) ([]byte, error) {
			out, err := good(order)
			if seq, _ := job.Seq(order); seq == 77 {
				out = append(out, ' ')
			}
			return out, err
		}
	default:
		return client(ctx, text)
	}
	spec.Impl = job.Raw
	if err := peer.Run(ctx, spec, prepare); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// instead prepares another order where the map says so.
func instead(prepare job.PrepareFunc, of map[int]int) job.PrepareFunc {
	return func(order []byte) ([]byte, error) {
		if seq, err := job.Seq(order); err == nil {
			if other, ok := of[seq]; ok {
				order = testOrders.Order(other, time.Time{})
			}
		}
		return prepare(order)
	}
}

// neighbours are two orders of a key.
func neighbours() (first, second int) {
	for second = 101; testOrders.Key(second) != testOrders.Key(100); second++ {
	}
	return 100, second
}

// moveRows does the embedded job slowly, and not to its end.
func moveRows(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) int {
	db, err := sql.Open("sqlite", peer.SQLiteDSN(spec.URL))
	if err != nil {
		return 1
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var orders [][]byte
	rows, err := db.Query("SELECT payload FROM inbox ORDER BY pos")
	if err != nil {
		return 1
	}
	for rows.Next() {
		var payload []byte
		if rows.Scan(&payload) != nil {
			return 1
		}
		orders = append(orders, payload)
	}
	_ = rows.Close()
	for n, order := range orders {
		if spec.Impl == losesOne && n == 77 {
			continue
		}
		out, err := prepare(order)
		if err != nil {
			return 1
		}
		if _, err := db.Exec("INSERT INTO outbox (id, payload) VALUES ('', ?)", out); err != nil {
			return 1
		}
	}
	if _, err := db.Exec("UPDATE cursor SET upto = ?", len(orders)-1); err != nil {
		return 1
	}
	<-ctx.Done()
	return 0
}
