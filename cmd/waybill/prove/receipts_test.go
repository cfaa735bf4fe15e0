package prove

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/sqlitestore"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// world is what effects act on: a system that honours the key of a call, and a
// mail server. Both do what they are told and then, if asked to, have the
// process killed before it gets their answer.
type world struct {
	mu      sync.Mutex
	keys    []string       // of all calls
	applied map[string]int // by key: what the system did, once a key
	mails   []string       // Message-IDs
	kill    func()         // called once, after an effect and before its answer
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	w.mu.Lock()
	w.keys = append(w.keys, key)
	if w.applied == nil {
		w.applied = make(map[string]int)
	}
	w.applied[key]++
	w.mu.Unlock()
	w.strike()
	_, _ = io.Copy(rw, r.Body)
}

func (w *world) strike() {
	w.mu.Lock()
	kill := w.kill
	w.kill = nil
	w.mu.Unlock()
	if kill != nil {
		kill()
	}
}

func (w *world) arm(kill func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kill = kill
}

func (w *world) seen() (keys, mails []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys, w.mails
}

// postbox is one connection to the mail server.
type postbox struct{ *world }

func (postbox) Mail(string, *smtp.MailOptions) error { return nil }
func (postbox) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (postbox) Reset()                               {}
func (postbox) Logout() error                        { return nil }

func (p postbox) Data(r io.Reader) error {
	header, err := textproto.NewReader(bufio.NewReader(r)).ReadMIMEHeader()
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.mails = append(p.mails, header.Get("Message-Id"))
	p.mu.Unlock()
	p.strike()
	return nil
}

// open starts both systems and returns where they are.
func (w *world) open(t *testing.T) (url string, mailPort int) {
	t.Helper()
	calls := httptest.NewServer(w)
	t.Cleanup(calls.Close)
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return postbox{w}, nil }))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = listener.Close()
		<-done
	})
	return calls.URL, listener.Addr().(*net.TCPAddr).Port
}

func (p *plant) keepIn(t *testing.T, store string) {
	t.Helper()
	text, err := os.ReadFile(p.config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.config, fmt.Appendf(text, "store: {url: %q}\n", store), 0o600))
}

// callOf and mailOf are handlers with an effect for each order.
func callOf(url string, perSecond int) pipe {
	return pipe{
		kind: "call_http", ordering: "none", concurrency: 64, perSecond: perSecond, partitions: 1,
		with: fmt.Sprintf(`{mode: http, once: [/orderId], url: %q}`, url),
	}
}

func mailOf(port int, unknown string) pipe {
	return pipe{
		kind: "send_email", ordering: "none", concurrency: 4, perSecond: 1000, partitions: 1,
		with: fmt.Sprintf(`{mode: smtp, once: [/orderId], on_unknown: %s, from: shop@example.com, to: {address: ann@example.com},
      server: {host: 127.0.0.1, port: %d, tls: none}}`, unknown, port),
	}
}

const oneOrder = `{"orderId":"ORD-7","customer":"c-1","items":[],"total":12.50}`

// TestEffectCrash: the process is killed after an effect and before its
// receipt. The effect is repeated under the same key, and a duplicate of the
// order after that has none.
func TestEffectCrash(t *testing.T) {
	all := places(t)
	stores := map[string]func(testing.TB) string{
		"embedded": func(testing.TB) string { return "sqlite:waybill.db" },
		"rabbitmq": storetest.Schema,
		"kafka":    storetest.Schema,
	}
	for _, at := range all {
		t.Run(at.driver, func(t *testing.T) {
			t.Run("0-W2 a call that was made when the process was killed is made again with the same key, and never after that", func(t *testing.T) {
				w := &world{}
				url, _ := w.open(t)
				p := newPlant(t, at, callOf(url, 1000))
				p.keepIn(t, stores[at.driver](t))
				crash(t, p, w)
				keys, _ := w.seen()
				require.Equal(t, []string{"ORD-7:work", "ORD-7:work"}, keys)
				require.Len(t, w.applied, 1, "a system that honours the key did it once")
			})
			t.Run("2-41 so is a mail, with the same Message-ID", func(t *testing.T) {
				w := &world{}
				_, port := w.open(t)
				p := newPlant(t, at, mailOf(port, "send"))
				p.keepIn(t, stores[at.driver](t))
				crash(t, p, w)
				_, mails := w.seen()
				require.Len(t, mails, 2)
				require.Equal(t, mails[0], mails[1])
			})
			t.Run("2-41 or it waits for a person, with on_unknown: dead_letter", func(t *testing.T) {
				w := &world{}
				_, port := w.open(t)
				p := newPlant(t, at, mailOf(port, "dead_letter"))
				p.keepIn(t, stores[at.driver](t))
				run := strike(t, p, w)
				run.await(func() bool { return run.processed() == 1 }, "it is dead")
				_, mails := w.seen()
				require.Len(t, mails, 1, "not sent again")
				require.Contains(t, run.get("/metrics"), `waybill_dead_letters_total{handler="work",reason="crash"} 1`)
				// Who looked and replays it means it: the dead letter has left no
				// receipt.
				p.again(t, run)
				run.await(func() bool { return run.processed() == 2 }, "it is sent")
				_, mails = w.seen()
				require.Len(t, mails, 2)
				run.stop()
			})
		})
	}
}

// strike publishes an order, kills the process within its effect, and starts
// it again.
func strike(t *testing.T, p *plant, w *world) *process {
	t.Helper()
	run := p.start(t)
	w.arm(run.kill)
	p.again(t, run)
	<-run.done
	return p.start(t)
}

// crash does that, lets it finish, and then publishes the order once more,
// under another message id.
func crash(t *testing.T, p *plant, w *world) {
	t.Helper()
	run := strike(t, p, w)
	run.await(func() bool { return run.processed() == 1 }, "the effect is repeated")
	p.again(t, run)
	run.await(func() bool { return run.processed() == 2 }, "the duplicate is handled")
	run.stop()
}

// again publishes the order under a new id.
func (p *plant) again(t *testing.T, run *process) {
	t.Helper()
	res, err := run.http.Post("http://waybill/api/v1/topics/"+p.in+"/messages", "application/json", strings.NewReader(oneOrder))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusAccepted, res.StatusCode)
}

// TestEffectTakeover: of two instances the one that is at an effect is killed.
// The other gets the message, waits until the dead one's reservation does not
// count any more, and repeats the effect under the same key.
func TestEffectTakeover(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no server")
	}
	w := &world{}
	url, _ := w.open(t)
	p := newPlant(t, places(t)[1], callOf(url, 1000))
	p.keepIn(t, storetest.Schema(t))
	second := *p
	second.dir = t.TempDir()
	reached, killed := make(chan struct{}), make(chan struct{})
	answer := sync.OnceFunc(func() { close(killed) })
	t.Cleanup(answer)
	w.arm(func() {
		close(reached)
		<-killed
	})
	run := p.start(t)
	p.again(t, run)
	<-reached
	other := second.start(t)
	run.kill()
	since := time.Now()
	answer()
	other.await(func() bool { return other.processed() == 1 }, "the other takes over")
	took := time.Since(since)
	keys, _ := w.seen()
	t.Run("0-W2 an effect whose instance is gone is taken over within 10 s, under the same key", func(t *testing.T) {
		require.Equal(t, []string{"ORD-7:work", "ORD-7:work"}, keys)
		require.Less(t, took, 10*time.Second)
	})
	other.stop()
}

// TestReceiptAndOutcome: the process is killed at random under load, and each
// time its file is looked into. Whatever has an output has its receipt and the
// other way round, since they are one transaction; and in the end a system
// that honours the key has done each order once.
func TestReceiptAndOutcome(t *testing.T) {
	n := sizes()
	orders := min(n.orders, 10_000) // each of which is looked up after each kill
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // chaos, not secrets
	l := ledger{Test: "SIGKILL of effects", Broker: "embedded", Seed: seed}
	since := begin()
	w := &world{}
	url, _ := w.open(t)
	p := newPlant(t, places(t)[0], callOf(url, pace(orders/2, n.kills, n.between))) // it works while it starts, too
	payloads := make([][]byte, orders)
	for i := range payloads {
		payloads[i] = fmt.Appendf(nil, `{"orderId":"O-%d","customer":"c-%d"}`, i, i%10)
	}
	p.feed(t, p, payloads)
	for l.Kills < n.kills {
		run := p.start(t)
		pause(time.Duration(float64(n.between) * (0.5 + random.Float64())))
		require.Positivef(t, run.waiting(), "kill %d came after all was done: nothing would be proved", l.Kills+1)
		run.kill()
		l.Kills++
		p.agree(t, payloads)
	}
	p.finish(t)
	l.Offered, l.Out, l.Repeats = orders, p.agree(t, payloads), len(w.keys)-orders
	enter(t, l, since)
	require.Equal(t, orders, l.Out)
	t.Run("X3 everything is repeated rather than lost, and what honours the key does it once", func(t *testing.T) {
		require.Len(t, w.applied, orders)
		for i := range orders {
			require.Positive(t, w.applied[fmt.Sprintf("O-%d:work", i)])
		}
		require.Less(t, l.Repeats, n.kills*64, "only what was in hand at a kill is repeated")
	})
}

// agree requires that exactly the orders with an output have a receipt, and
// returns how many.
func (p *plant) agree(t *testing.T, payloads [][]byte) int {
	t.Helper()
	out := make(map[string]bool)
	for _, payload := range p.read(t, p, p.out) {
		require.Falsef(t, out[string(payload)], "two outputs: %s", payload)
		out[string(payload)] = true
	}
	s, err := sqlitestore.Open(t.Context(), filepath.Join(p.dir, "data", "waybill.db"), store.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for i, payload := range payloads {
		r, err := s.Receipt(t.Context(), store.ReceiptKey{Subject: fmt.Sprintf("O-%d", i), Effect: "work"})
		require.NoError(t, err)
		done := out[string(payload)]
		require.Equalf(t, done, r.State == store.Done, "order %d: its receipt is %s, and it has an output: %t", i, r.State, done)
	}
	return len(out)
}
