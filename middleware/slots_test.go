package middleware

import (
	"sync/atomic"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func TestSlots(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	var running, most atomic.Int32
	h := Slots{Number: 2}.Middleware(func(*message.Message) ([]*message.Message, error) {
		most.Store(max(most.Load(), running.Add(1)))
		entered <- struct{}{}
		<-leave
		running.Add(-1)
		return nil, nil
	})
	done := make(chan error, 10)
	for range 4 {
		msg, _, _ := incoming(t)
		go func() { _, err := h(msg); done <- err }()
	}
	<-entered
	<-entered
	last, _, stop := incoming(t)
	refused := make(chan error)
	go func() { _, err := h(last); refused <- err }()
	stop(pipeline.ErrStopping)
	require.ErrorIs(t, <-refused, pipeline.ErrStopping, "who waits for a slot is given back")
	close(leave)
	for range 4 {
		require.NoError(t, <-done)
	}
	require.Equal(t, int32(2), most.Load())
}
