package journal

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSlots(t *testing.T) {
	t.Parallel()

	t.Run("what is taken is found, what is left is not", func(t *testing.T) {
		t.Parallel()
		s := newSlots(make([]byte, 4*slotSize))
		one := s.take(newLabel("prepare", "orders-in"), "m-1", false)
		two := s.take(newLabel("mail", ""), "", true)
		s.leave(s.take(newLabel("prepare", "orders-in"), "m-2", false))
		runs := parse(s.memory)
		require.Len(t, runs, 2)
		for _, r := range runs {
			require.False(t, r.since.IsZero())
			if r.handler == "mail" {
				require.True(t, r.alone)
				require.Empty(t, r.topic+r.id)
				continue
			}
			require.Equal(t, []string{"prepare", "orders-in", "m-1"}, []string{r.handler, r.topic, r.id})
			require.False(t, r.alone)
		}
		s.leave(one)
		s.leave(two)
		require.Empty(t, parse(s.memory))
	})

	t.Run("the longest names and id fit, and a topic that does not is cut", func(t *testing.T) {
		t.Parallel()
		s := newSlots(make([]byte, slotSize))
		handler, topic, id := strings.Repeat("h", 40), strings.Repeat("t", 204), strings.Repeat("i", maxID)
		n := s.take(newLabel(handler, topic), id, false)
		require.Equal(t, []string{handler, topic, id}, texts(parse(s.memory)[0]))
		s.leave(n)
		s.take(newLabel(handler, topic+"ttttttttttttt"), id, false)
		require.Equal(t, []string{handler, topic + strings.Repeat("t", 9), id}, texts(parse(s.memory)[0]))
	})

	t.Run("a slot that was torn says nothing", func(t *testing.T) {
		t.Parallel()
		s := newSlots(make([]byte, 2*slotSize))
		s.take(newLabel("prepare", "orders-in"), "m-1", false)
		s.take(newLabel("prepare", "orders-in"), "m-2", false)
		whole := parse(s.memory)
		require.Len(t, whole, 2)
		for at := range slotHead + len("prepareorders-inm-1") {
			if at == 1 || at > 3 && at < 7 {
				continue // of the state, bytes that are 0 and stay so
			}
			s.memory[at] ^= 0x40
			require.Len(t, parse(s.memory), 1, "byte %d", at)
			s.memory[at] ^= 0x40
		}
		require.Len(t, parse(s.memory), 2)
		s.state(0).Store(writing)
		require.Len(t, parse(s.memory), 1)
		require.Empty(t, parse(s.memory[:slotSize-1]))
	})

	t.Run("when all are full none is taken", func(t *testing.T) {
		t.Parallel()
		s := newSlots(make([]byte, 2*slotSize))
		l := newLabel("h", "t")
		first := s.take(l, "1", false)
		s.take(l, "2", false)
		none := s.take(l, "3", false)
		require.Equal(t, noSlot, none)
		s.leave(none)
		s.leave(first)
		require.Equal(t, first, s.take(l, "4", false))
	})

	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		const workers = 8
		s := newSlots(make([]byte, workers*slotSize))
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range 2000 {
					n := s.take(newLabel("h", "t"), "m", false)
					if n == noSlot {
						t.Error("there is one for each")
						return
					}
					s.leave(n)
				}
			})
		}
		wg.Wait()
		require.Empty(t, parse(s.memory))
	})
}

func texts(r run) []string { return []string{r.handler, r.topic, r.id} }
