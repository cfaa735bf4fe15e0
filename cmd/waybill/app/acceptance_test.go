package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// sample is the pipeline of deploy/sample with other brokers and topics of
// the test's own.
func sample(t *testing.T, brokers string) string {
	t.Helper()
	text, err := os.ReadFile("../../../deploy/sample/embedded.yaml")
	require.NoError(t, err)
	config := strings.Replace(string(text), "main: {driver: embedded}", brokers, 1)
	require.Contains(t, config, brokers)
	for _, topic := range []string{"prepared-orders", "orders-in", "emails", "warehouse-calls", "notifications"} {
		config = strings.ReplaceAll(config, topic, topic+"-~")
	}
	return unique(config)
}

// topicOf finds the unique name of a sample topic.
func topicOf(t *testing.T, config, name string) string {
	t.Helper()
	_, after, ok := strings.Cut(config, name+"-")
	require.True(t, ok)
	return name + "-" + after[:8]
}

const (
	f1 = `{"orderId":"ORD-1702554000123","sessionId":"session-12345","userId":"64f1c0ffee64f1c0ffee64f1",
 "items":[{"sku":"AUDIO-1","name":"Wireless Headphones","price":1999,"quantity":1},{"sku":"SHIPPING","name":"Shipping Cost","price":501,"quantity":1}],
 "total":2500.00,"timestamp":"2023-12-14T11:40:00Z","paymentId":"pay_1"}`
	f2     = `{"orderid":"5d6ff2bb","user":"session-12345","cart":{"total":2960.10,"items":[{"sku":"A","name":"Headphones","qty":1,"price":1999,"subtotal":1999},{"sku":"SHIPPING","name":"Shipping","qty":1,"price":961.10,"subtotal":961.10}]}}`
	lined  = "{\"id\": \"WB-1\",\"note\":\"caf\\u00e9 \\/\", \"big\":12345678901234567890, \"order_lines\" : [{\"sku\":\"F\",\"type\":\"frame\",\"name\":\"Frame\",\"price\":5.0,\"quantity\":2}] ,\"total\":10.00}\n"
	broken = `{"id":"WB-2","order_lines":[{"sku":"F","type":"frame","quantity":1000000000}],"total":1}`
)

// TestAcceptance is the same on every broker: YAML in, orders in, prepared
// orders and dead letters out.
//
//nolint:paralleltest // the parts look at one stream of orders, in turn
func TestAcceptance(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			config := sample(t, brokers)
			s := begin(t, config)
			in := topicOf(t, config, "orders-in")
			prepared := s.watch(topicOf(t, config, "prepared-orders"))
			dead := s.watch(in + ".prepare.dlq")
			calls := s.watch(topicOf(t, config, "warehouse-calls"))

			ids := map[string]string{}
			for _, payload := range []string{f1, f2, lined, broken, "not an order"} {
				ids[payload] = s.publish(in, payload, "Waybill-Meta-Source", "shop")
			}

			got := map[string]string{}
			t.Run("0-11 an order is prepared, published, and only then acknowledged", func(t *testing.T) {
				for _, m := range prepared(3) {
					got[m.Metadata[pipeline.MetaCausationID]] = string(m.Bytes())
					require.Equal(t, pipeline.OutputID(m.Metadata[pipeline.MetaCausationID], "prepare", 0), m.ID)
					require.Equal(t, "shop", m.Metadata["source"], "metadata travels")
				}
				require.Equal(t, f1, got[ids[f1]], "an order without lines goes on byte for byte")
				require.Equal(t, f2, got[ids[f2]])
				before, after, _ := strings.Cut(lined, `[{"sku"`)
				_, after, _ = strings.Cut(after, "}]")
				made := got[ids[lined]]
				require.True(t, strings.HasPrefix(made, before) && strings.HasSuffix(made, after), "all but order_lines is as it was: %s", made)
				require.Equal(t, 2, strings.Count(made, `"job_id"`), made)
				require.Equal(t, 2, strings.Count(made, `"completion_stages":["pick","pack","dispatch"]`), made)
			})

			t.Run("0-W4 no byte outside of order_lines changes: numbers, escapes, spaces, the final newline", func(t *testing.T) {
				for _, part := range []string{`"big":12345678901234567890`, `caf\u00e9 \/`, `{"id": "WB-1"`, `"total":10.00}` + "\n"} {
					require.Contains(t, got[ids[lined]], part)
				}
			})

			t.Run("0-19 what is no order is a dead letter with the original bytes and the reason", func(t *testing.T) {
				why := map[string]string{}
				for _, m := range dead(2) {
					why[string(m.Bytes())] = m.Metadata[pipeline.MetaDeadError]
					require.Equal(t, ids[string(m.Bytes())], m.ID, "a dead letter keeps its id")
					require.Equal(t, "invalid", m.Metadata[pipeline.MetaDeadReason])
					require.Equal(t, "prepare", m.Metadata[pipeline.MetaDeadHandler])
					require.Equal(t, in, m.Metadata[pipeline.MetaDeadTopic])
					require.Equal(t, "1", m.Metadata[pipeline.MetaDeadAttempts])
				}
				require.Contains(t, why[broken], "10000")
				require.Contains(t, why["not an order"], "not a JSON object")
			})

			t.Run("2-43 each effect has a message of its own, so that none waits for another", func(t *testing.T) {
				for _, m := range calls(3) {
					require.Equal(t, "warehouse", m.Metadata[pipeline.MetaEvent])
				}
			})

			t.Run("2-21 the log tells of every order by its ids", func(t *testing.T) {
				for payload, order := range map[string]string{f1: "ORD-1702554000123", f2: "5d6ff2bb", lined: "WB-1"} {
					var line string
					s.eventually(func() bool { line = lineWith(s.log.String(), "Order ID: "+order); return line != "" }, order)
					require.Contains(t, line, "correlation_id="+ids[payload], "the line leads back to the message that came in")
				}
			})

			for _, line := range []string{"NEW ORDER RECEIVED", "Order ID: WB-1", "₹2500.00", "Confirmation email sent (simulated)", "Warehouse notified (simulated)"} {
				s.eventually(func() bool { return strings.Contains(s.log.String(), line) }, line)
			}
			require.NoError(t, s.stop())
		})
	}
}

// lineWith is the first line of the log that has text in it.
func lineWith(log, text string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// TestRestart: what is in the log stays, and what was done is not done again.
func TestRestart(t *testing.T) {
	t.Parallel()
	config := sample(t, "main: {driver: embedded}")
	s := begin(t, config)
	in := topicOf(t, config, "orders-in")
	prepared := s.watch(topicOf(t, config, "prepared-orders"))
	s.publish(in, f1)
	first := prepared(1)
	require.NoError(t, s.stop())
	s.open()
	prepared = s.watch(topicOf(t, config, "prepared-orders"))
	s.publish(in, f2)
	second := prepared(1)
	require.NotEqual(t, first[0].ID, second[0].ID, "the first order was prepared again")
	require.FileExists(t, filepath.Join(filepath.Dir(s.config), "data", "waybill.db"))
}
