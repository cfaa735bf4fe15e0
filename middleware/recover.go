package middleware

import (
	"runtime/debug"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Recover turns a panic of the kind into a *pipeline.PanicError, which follows
// the retry policy like any error.
func Recover(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) (produced []*message.Message, err error) {
		defer func() {
			if value := recover(); value != nil {
				produced, err = nil, &pipeline.PanicError{Value: value, Stack: debug.Stack()}
			}
		}()
		produced, err = h(msg)
		if err != nil {
			_ = err.Error() // a typed nil panics here and not in whoever logs it
		}
		return produced, err
	}
}
