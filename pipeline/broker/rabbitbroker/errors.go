package rabbitbroker

import (
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
)

var (
	errClosed = pipeline.WithReason(errors.New("the broker is closed"), pipeline.ReasonUnavailable)
	errLost   = pipeline.WithReason(errors.New("the connection to RabbitMQ was lost"), pipeline.ReasonUnavailable)
)

// reply returns what the broker said when it closed a channel, or nil if err
// is something else.
func reply(err error) *amqp.Error {
	var e *amqp.Error
	if errors.As(err, &e) && e.Server {
		return e
	}
	return nil
}

// hasCode reports whether the broker closed a channel with that code.
func hasCode(err error, code int) bool {
	e := reply(err)
	return e != nil && e.Code == code
}

// mayPass reports whether err can go away by itself: all but the answers that
// somebody must act on.
func mayPass(err error) bool {
	e := reply(err)
	if e == nil {
		return true
	}
	switch e.Code {
	case amqp.NotFound:
		// A queue that exists and has no leader yet is "not found" too, for a
		// while after a start: "... process is stopped", "... is down".
		return strings.Contains(e.Reason, "process") || strings.Contains(e.Reason, "down")
	case amqp.AccessRefused, amqp.PreconditionFailed, amqp.NotAllowed, amqp.CommandInvalid, amqp.NotImplemented:
		return false
	}
	return true
}

// classed marks what may pass as unavailable.
func classed(err error) error {
	if err != nil && mayPass(err) {
		return pipeline.WithReason(err, pipeline.ReasonUnavailable)
	}
	return err
}

// joined is errors.Join on one line; nil if all errs are.
func joined(errs []error) error {
	var all error
	for _, err := range errs {
		switch {
		case err == nil:
		case all == nil:
			all = err
		default:
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}
