package prove

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is what one run comes to.
type ledger struct {
	Test       string    `json:"test"`
	Broker     string    `json:"broker"`
	Offered    int       `json:"offered"`
	Out        int       `json:"out"`
	Dead       int       `json:"dead"`
	Lost       int       `json:"lost"`
	Unexpected int       `json:"unexpected"` // in the output, never offered
	Repeats    int       `json:"repeats"`
	Disorders  int       `json:"order_violations"`
	Kills      int       `json:"kills"`
	Stops      int       `json:"stops"`
	Cuts       int       `json:"power_cuts,omitempty"`
	Commits    int       `json:"commits_without_answer,omitempty"` // under way, or done, when PostgreSQL was killed
	Sent       int       `json:"sent_again,omitempty"`             // by the producer, as no answer came
	Recovery   []float64 `json:"recovery_s,omitempty"`             // from the server's port opening to the next message done
	Rate       float64   `json:"msgs_per_s,omitempty"`
	PeakMB     float64   `json:"peak_rss_mb,omitempty"`
	Seed       uint64    `json:"seed,omitempty"`
	Took       float64   `json:"took_s"`
}

var book struct {
	sync.Mutex
	entries []ledger
}

// enter prints the ledger and keeps it for the file.
func enter(t *testing.T, l ledger, begin time.Time) {
	t.Helper()
	l.Took = time.Since(begin).Seconds()
	text, err := json.Marshal(l)
	require.NoError(t, err)
	t.Log(string(text))
	book.Lock()
	defer book.Unlock()
	book.entries = append(book.entries, l)
}

// writeBook writes all ledgers to the file that WAYBILL_LEDGER names.
func writeBook() error {
	file := os.Getenv("WAYBILL_LEDGER")
	if file == "" {
		return nil
	}
	book.Lock()
	defer book.Unlock()
	text, err := json.MarshalIndent(book.entries, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

// check compares what came out with what was offered.
func check(l *ledger, offered []order, out, dead []record) {
	l.Offered, l.Dead = len(offered), 0
	known := make(map[string]bool, len(offered))
	for _, o := range offered {
		known[o.ID] = true
	}
	ended := make(map[string]bool, len(offered))
	last := make(map[string]int)
	note := func(r record, count *int, ordered bool) {
		switch {
		case !known[r.ID]:
			l.Unexpected++
			return
		case ended[r.ID]:
			l.Repeats++
			return
		}
		ended[r.ID] = true
		*count++
		if ordered {
			if r.Seq <= last[r.Key] {
				l.Disorders++
			}
			last[r.Key] = max(last[r.Key], r.Seq)
		}
	}
	for _, r := range out {
		note(r, &l.Out, true)
	}
	for _, r := range dead {
		note(r, &l.Dead, false)
	}
	l.Lost = len(offered) - len(ended)
}

// order is one input: its id, what orders it, and its place among those.
type order struct {
	ID  string `json:"id"`
	Key string `json:"customer"`
	Seq int    `json:"seq"`
}

// record is one message of the output as the checker reads it.
type record struct{ order }

// broken is every which order is refused by the kind.
const broken = 97

// makeOrders returns n orders over that many keys, and their payloads.
func makeOrders(n, keys int) ([]order, [][]byte) {
	orders, payloads := make([]order, n), make([][]byte, n)
	seqs := make([]int, keys)
	for i := range n {
		k := i * 7919 % keys
		seqs[k]++
		o := order{ID: fmt.Sprintf("o-%06d", i), Key: fmt.Sprintf("c-%d", k), Seq: seqs[k]}
		quantity := "2"
		if i%broken == 0 {
			quantity = `"two"`
		}
		orders[i] = o
		payloads[i] = fmt.Appendf(nil, `{"id":%q,"customer":%q,"seq":%d,"order_lines":[{"sku":"A","type":"frame","quantity":%s},{"sku":"B","quantity":1}]}`,
			o.ID, o.Key, o.Seq, quantity)
	}
	return orders, payloads
}
