package prove

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// offers are orders that are published one by one to a process in trouble, and
// what came of them.
type offers struct {
	run       *process
	topic     string
	next      int
	confirmed []order
	refused   int
}

func newOffers(run *process, topic string) *offers { return &offers{run: run, topic: topic} }

// one offers the next order.
func (o *offers) one() (status int, answer string) {
	orders, payloads := makeOrders(o.next+1, 1)
	status, answer = o.run.publish(o.topic, orders[o.next].ID, payloads[o.next])
	if status == http.StatusAccepted {
		o.confirmed = append(o.confirmed, orders[o.next])
	} else {
		o.refused++
	}
	o.next++
	return status, answer
}

// publish offers n, which must be confirmed.
func (o *offers) publish(t *testing.T, n int) {
	t.Helper()
	for range n {
		status, answer := o.one()
		require.Equal(t, http.StatusAccepted, status, answer)
	}
}

// untilRefused offers orders until one is refused, with 503 and the next step.
func (o *offers) untilRefused(t *testing.T, nextStep string) {
	t.Helper()
	for range 10_000 {
		if status, answer := o.one(); status != http.StatusAccepted {
			require.Equal(t, http.StatusServiceUnavailable, status, answer)
			require.Contains(t, answer, nextStep)
			return
		}
	}
	require.Fail(t, "publishes are never refused")
}

// verdict reads everything: of what was confirmed nothing is lost, and of what
// was refused nothing is there.
func (o *offers) verdict(t *testing.T, p *plant, l *ledger) {
	t.Helper()
	p.verdict(t, l, o.confirmed)
	require.NotZero(t, o.refused)
	require.Zero(t, l.Lost, "lost")
	require.Zero(t, l.Unexpected, "refused, and there")
	require.Zero(t, l.Repeats)
	require.Zero(t, l.Disorders)
}

// notReady reports whether /ready says all this.
func (run *process) notReady(texts ...string) bool {
	answer := run.get("/ready")
	for _, text := range texts {
		if !strings.Contains(answer, text) {
			return false
		}
	}
	return true
}
