package storetest

import (
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// long: ids and keys that are too long for an index are told apart by all of
// their bytes, and come back whole.
func long(t *testing.T, h Harness) {
	s, c := h.fresh(t)
	text := make([]byte, 9000) // random, so that no compression makes it fit
	_, err := rand.Read(text)
	require.NoError(t, err)
	id, key := string(text)+"id", string(text)+"key"

	// One that holds its key, though its letter has the short id.
	dead := waiting(c, id, key, 0)
	dead.Parked = true
	do(t, s, s.Delay(dead), s.Delay(dead), s.Delay(waiting(c, id+"2", key, 0)), s.Delay(waiting(c, id+"3", key+"2", 0)))
	leases := lease(t, s, 10)
	require.Equal(t, []string{id + "3"}, names(leases))
	require.Equal(t, key+"2", leases[0].Key)
	keys, err := s.HeldKeys(t.Context(), "prepare")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{key, key + "2"}, keys)
	held, err := s.Holds(t.Context(), "prepare", key)
	require.NoError(t, err)
	require.True(t, held)

	l := letter(1)
	l.Message = id
	do(t, s, s.Bury(l))
	page, err := s.Letters(t.Context(), store.LetterQuery{})
	require.NoError(t, err)
	require.Equal(t, store.ShortID(id), page.Letters[0].Message)
	again := waiting(c, page.Letters[0].Message, "", 0)
	do(t, s, s.Requeue(again))
	leases = lease(t, s, 10)
	require.Equal(t, []string{id}, names(leases))
	require.Equal(t, key, leases[0].Key)
	do(t, s, s.EndDelayed(leases[0]), s.CloseLetter("prepare", id, 0))
	closed, err := s.Letter(t.Context(), page.Letters[0].ID)
	require.NoError(t, err)
	require.Equal(t, store.Completed, closed.State)

	second := lease(t, s, 10)
	require.Equal(t, []string{id + "2"}, names(second))
	second[0].Parked = true
	do(t, s, s.DelayAgain(second[0]), s.Unpark("prepare", id+"2"))
	held, err = s.Holds(t.Context(), "prepare", key)
	require.NoError(t, err)
	require.False(t, held)

	do(t, s, s.SaveDocument(store.SaveParams{Handler: "track", Key: key, Value: []byte("1")}),
		s.SaveDocument(store.SaveParams{Handler: "track", Key: key + "2", Value: []byte("2")}))
	require.Equal(t, "1", string(document(t, s, "track", key).Value))
	require.Equal(t, "2", string(document(t, s, "track", key+"2").Value))
}
