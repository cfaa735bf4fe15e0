package once_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/handlers/once"
	"github.com/waybill-dev/waybill/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSubject(t *testing.T) {
	t.Parallel()
	pointers := []string{"/orderId", "/orderid", "/id"}
	for payload, want := range map[string]string{
		`{"orderId":"O-1","id":"2"}`:   "O-1",
		`{"id":7.50}`:                  "7.50",
		`{"orderId":null,"orderid":3}`: "3",
		`{"orderId":{"n":1}}`:          "msg-1",
		`{"orderId":""}`:               "msg-1",
		`{"orderId":`:                  "msg-1",
		``:                             "msg-1",
	} {
		require.Equal(t, want, once.Subject(handlertest.Message(payload), pointers), payload)
	}
	require.Equal(t, "msg-1", once.Subject(handlertest.Message(`{"id":"2"}`), nil), "without pointers it is the message")

	shared := []string{pipeline.MetaIDSource, pipeline.IDSourceContent}
	require.Empty(t, once.Subject(handlertest.Message(`{"id":"2"}`, shared...), nil), "its id may be another order's too")
	require.Equal(t, "2", once.Subject(handlertest.Message(`{"id":"2"}`, shared...), pointers))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	require.Empty(t, once.Check([]string{"/id", "/a/0"}))
	faults := once.Check([]string{"/id", "id"})
	require.Len(t, faults, 1)
	require.ErrorContains(t, faults[0], "/once/1")
}
