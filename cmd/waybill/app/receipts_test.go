package app

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// shop is a pipeline with two effects for each order.
const shop = `
brokers: {%s}
store: {url: %q}
topics:
  in-~: {broker: main}
  answers-~: {broker: main}
handlers:
  mail:
    kind: send_email
    from: in-~
    retry: {immediate: 4, initial: 10ms}
    with:
      mode: smtp
      once: [/orderId]
      server: {host: 127.0.0.1, port: %d, tls: none}
      from: shop@example.com
      to: {pointers: [/email]}
  call:
    kind: call_http
    from: in-~
    to: answers-~
    retry: {immediate: 4, initial: 10ms}
    with: {mode: http, once: [/orderId], timeout: 1m, url: %q}
`

const anOrder = `{"orderId":"ORD-7","email":"ann@example.com","items":[],"total":12.50}`

// sides are the systems that the effects go to.
type sides struct {
	*stand
	in, answers string

	mu     sync.Mutex
	mails  []string      // Message-IDs
	keys   []string      // Idempotency-Keys
	status []int         // what the next calls are answered; none left: 200
	hold   chan struct{} // calls are answered when it is closed; nil: at once
}

// placesOfReceipts are pairs of a broker and a store: one file, two places,
// and two servers. The store is a function, since each pipeline has its own.
func placesOfReceipts(t *testing.T) map[string]place {
	t.Helper()
	brokers := brokersUnderTest(t)
	file := func(testing.TB) string { return "sqlite:waybill.db" }
	places := map[string]place{"embedded and SQLite": {brokers["embedded"], file}}
	if !testing.Short() {
		places["embedded and PostgreSQL"] = place{brokers["embedded"], storetest.Schema}
		places["RabbitMQ and SQLite"] = place{brokers["rabbitmq"], file}
		places["Kafka and PostgreSQL"] = place{brokers["kafka"], storetest.Schema}
	}
	return places
}

type place struct {
	brokers string
	store   func(testing.TB) string
}

// openShop runs the pipeline and the systems around it.
func openShop(t *testing.T, at place) *sides {
	t.Helper()
	s := &sides{}
	warehouse := httptest.NewServer(http.HandlerFunc(s.call))
	t.Cleanup(warehouse.Close)
	config := unique(fmt.Sprintf(shop, at.brokers, at.store(t), s.post(t), warehouse.URL))
	s.in, _ = topics(config)
	s.answers = "answers-" + strings.TrimPrefix(s.in, "in-")
	s.stand = begin(t, config)
	return s
}

func (s *sides) call(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.status) > 0 {
		w.WriteHeader(s.status[0])
		s.status = s.status[1:]
	}
	_, _ = io.WriteString(w, `{"booked":true}`)
}

// holdCalls has calls wait for their answer until answer is called.
func (s *sides) holdCalls() (answer func()) {
	hold := make(chan struct{})
	s.mu.Lock()
	s.hold = hold
	s.mu.Unlock()
	answer = sync.OnceFunc(func() { close(hold) })
	s.t.Cleanup(answer)
	return answer
}

func (s *sides) seen() (mails, keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails, s.keys
}

// await waits until the two handlers are done with so many messages.
func (s *sides) await(mail, call int, outcome string) {
	s.t.Helper()
	s.eventually(func() bool {
		_, text := s.get("/metrics")
		for handler, n := range map[string]int{"mail": mail, "call": call} {
			if !strings.Contains(text, fmt.Sprintf("waybill_messages_processed_total{handler=%q,outcome=%q} %d\n", handler, outcome, n)) {
				return false
			}
		}
		return true
	}, fmt.Sprintf("%d and %d are %s", mail, call, outcome))
}

// post is a real mail server; it returns its port.
func (s *sides) post(t *testing.T) int {
	t.Helper()
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return postbox{s}, nil }))
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
	return listener.Addr().(*net.TCPAddr).Port
}

type postbox struct{ *sides }

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
	defer p.mu.Unlock()
	p.mails = append(p.mails, header.Get("Message-Id"))
	return nil
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	for name, at := range placesOfReceipts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			t.Run("2-40 the call fails for a while: the mail is not sent again, and neither is at a redelivery or after a restart", func(t *testing.T) {
				t.Parallel()
				s := openShop(t, at)
				s.status = []int{503, 503, 503}
				s.publish(s.in, anOrder, "ce-id", "m-1")
				s.await(1, 1, "ok")
				mails, keys := s.seen()
				require.Len(t, mails, 1)
				require.Equal(t, []string{"ORD-7:call", "ORD-7:call", "ORD-7:call", "ORD-7:call"}, keys, "the call was made until it went well")

				s.publish(s.in, anOrder, "ce-id", "m-1")
				s.await(2, 2, "ok")
				require.NoError(t, s.stop())
				s.open()
				s.publish(s.in, anOrder, "ce-id", "m-1")
				s.await(1, 1, "ok")
				mails, keys = s.seen()
				require.Len(t, mails, 1, "sent again")
				require.Len(t, keys, 4, "called again")
			})

			t.Run("2-41 an order that comes in two messages has its effects once, and the same outputs", func(t *testing.T) {
				t.Parallel()
				s := openShop(t, at)
				answers := s.watch(s.answers)
				s.publish(s.in, anOrder, "ce-id", "m-1")
				s.publish(s.in, anOrder, "ce-id", "m-2")
				s.publish(s.in, strings.Replace(anOrder, "ORD-7", "ORD-8", 1), "ce-id", "m-3")
				s.await(3, 3, "ok")
				mails, keys := s.seen()
				require.Len(t, mails, 2)
				require.NotEqual(t, mails[0], mails[1], "two orders, two mails")
				require.ElementsMatch(t, []string{"ORD-7:call", "ORD-8:call"}, keys)
				byID := map[string][]map[string]string{}
				for _, m := range answers(3) {
					require.Equal(t, `{"booked":true}`, string(m.Bytes()))
					byID[m.ID] = append(byID[m.ID], m.Metadata)
				}
				require.Len(t, byID, 2, "the repeat's output has the id of the first")
				for _, same := range byID {
					require.Equal(t, same[0], same[len(same)-1], "and its metadata")
				}
			})

			t.Run("2-41 the same id with other content is a conflict, unless somebody edited it", func(t *testing.T) {
				t.Parallel()
				s := openShop(t, at)
				dead := s.watch(s.in + ".call.dlq")
				s.publish(s.in, anOrder, "ce-id", "m-1")
				s.await(1, 1, "ok")
				other := strings.Replace(anOrder, "12.50", "13.50", 1)
				s.publish(s.in, other, "ce-id", "m-2")
				s.await(1, 1, "dead")
				letter := dead(1)[0]
				require.Equal(t, other, string(letter.Bytes()))
				require.Equal(t, string(pipeline.ReasonConflict), letter.Metadata[pipeline.MetaDeadReason])
				require.Equal(t, "0", letter.Metadata[pipeline.MetaDeadAttempts])

				s.publish(s.in, other, "ce-id", "m-2", "Waybill-Meta-"+pipeline.MetaEditOf, "m-1")
				s.await(2, 2, "ok")
				s.publish(s.in, other, "ce-id", "m-3")
				s.await(3, 3, "ok")
				mails, keys := s.seen()
				require.Len(t, mails, 1)
				require.Len(t, keys, 1)
			})

			t.Run("2-W5 what failed runs again when it is redelivered or replayed, with the key of the first", func(t *testing.T) {
				t.Parallel()
				s := openShop(t, at)
				s.status = []int{400}
				s.publish(s.in, anOrder, "ce-id", "m-1")
				s.eventually(func() bool {
					_, text := s.get("/metrics")
					return strings.Contains(text, `waybill_messages_processed_total{handler="call",outcome="dead"} 1`)
				}, "the call is refused")
				s.publish(s.in, anOrder, "ce-id", "m-1")
				s.await(2, 1, "ok")
				mails, keys := s.seen()
				require.Len(t, mails, 1)
				require.Equal(t, []string{"ORD-7:call", "ORD-7:call"}, keys, "T8: its failure hid the message")
			})
		})
	}
}

func TestReceipts_Expire(t *testing.T) {
	t.Parallel()
	s := openShop(t, place{"main: {driver: embedded}", func(testing.TB) string { return "sqlite:waybill.db" }})
	s.publish(s.in, anOrder, "ce-id", "m-1")
	s.await(1, 1, "ok")
	require.NoError(t, s.stop())
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	short := strings.Replace(string(text), "store: {", "store: {receipts: 1ms, ", 1)
	require.NoError(t, os.WriteFile(s.config, []byte(short), 0o600))
	s.open()
	s.eventually(func() bool {
		r, err := s.app.store.Receipt(t.Context(), store.ReceiptKey{Subject: "ORD-7", Effect: "mail"})
		return err == nil && r.State == store.Free
	}, "the receipt goes at the start")
}

// TestReceipts_Instances: two instances share a queue and a store, and have
// the same order in hand at the same time.
func TestReceipts_Instances(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: no server")
	}
	at := place{brokersUnderTest(t)["rabbitmq"], storetest.Schema}

	t.Run("2-41 one of two instances has the effect, however long it takes, and the other waits for it", func(t *testing.T) {
		t.Parallel()
		s := openShop(t, at)
		answer := s.holdCalls()
		text, err := os.ReadFile(s.config)
		require.NoError(t, err)
		other := begin(t, string(text))
		inHand := func(s *stand) (n int) {
			_, text := s.get("/metrics")
			_, line, _ := strings.Cut(text, "waybill_in_flight_messages{handler=\"call\"}")
			_, _ = fmt.Sscan(line, &n)
			return n
		}
		// RabbitMQ hands out to each in turn, but one that is only about to listen has none yet.
		for n := 1; inHand(s.stand) == 0 || inHand(other) == 0; n++ {
			require.Less(t, n, 10, "one has all of them")
			s.publish(s.in, anOrder, "ce-id", fmt.Sprint("m-", n))
			s.eventually(func() bool { return inHand(s.stand)+inHand(other) == n }, "the order is in hand")
		}
		<-time.After(10 * time.Second) // longer than a reservation counts that nobody renews
		_, keys := s.seen()
		require.Len(t, keys, 1, "the second did not wait")
		answer()
		s.eventually(func() bool { return inHand(s.stand)+inHand(other) == 0 }, "both are done")
		mails, keys := s.seen()
		require.Len(t, keys, 1)
		require.Len(t, mails, 1)
	})
}
