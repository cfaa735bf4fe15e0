package kafkabroker

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/eapache/go-resiliency/breaker"

	"github.com/waybill-dev/waybill/pipeline"
)

// reachable adds the next step to errors that say why a cluster could not be
// reached.
func reachable(err error) error {
	switch {
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		return fmt.Errorf("invalid credentials: %w; check sasl.user and its password", err)
	case errors.Is(err, sarama.ErrOutOfBrokers):
		return fmt.Errorf("%w; check that Kafka runs there and that tls and sasl are as its listener wants", err)
	}
	return err
}

// denied adds the next step to errors that say what the user may not do.
func denied(err error) error {
	for _, no := range []error{
		sarama.ErrTopicAuthorizationFailed, sarama.ErrGroupAuthorizationFailed, sarama.ErrClusterAuthorizationFailed,
	} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w; allow it with kafka-acls, for topics (read, write, create, describe) and groups (read)", err)
		}
	}
	return err
}

// unavailable marks an error as one that another try may mend.
func unavailable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return pipeline.WithReason(err, pipeline.ReasonTimeout)
	}
	return pipeline.WithReason(denied(err), pipeline.ReasonUnavailable)
}

// unroutable is the error for a topic that is not there, for good.
func unroutable(format string, args ...any) error {
	return permanent(pipeline.ReasonUnroutable, format, args...)
}

// tooLarge is the error for a message over a limit.
func tooLarge(format string, args ...any) error {
	return permanent(pipeline.ReasonTooLarge, format, args...)
}

func permanent(reason pipeline.Reason, format string, args ...any) error {
	return pipeline.WithReason(pipeline.Permanent(fmt.Errorf(format, args...)), reason)
}

// breaksProducer reports whether err says that an idempotent producer cannot
// go on under its identity, or that sarama has stopped trying for a while.
// A new producer does at once.
func breaksProducer(err error) bool {
	for _, fatal := range []error{
		sarama.ErrOutOfOrderSequenceNumber, sarama.ErrInvalidProducerEpoch, sarama.ErrProducerFenced,
		sarama.ErrUnknownProducerID, sarama.ErrInvalidProducerIDMapping, sarama.ErrClosedClient,
		sarama.ErrShuttingDown, breaker.ErrBreakerOpen,
	} {
		if errors.Is(err, fatal) {
			return true
		}
	}
	return false
}

// saysTooLarge reports whether err is the broker's or sarama's word for a
// batch over the limit.
func saysTooLarge(err error) bool {
	var config sarama.ConfigurationError
	return errors.Is(err, sarama.ErrMessageSizeTooLarge) || errors.Is(err, sarama.ErrMessageSetSizeTooLarge) ||
		errors.As(err, &config)
}

// saysUnknown reports whether err is about a topic that the broker does not
// know, or about sarama having given up on one.
func saysUnknown(err error) bool {
	return errors.Is(err, sarama.ErrUnknownTopicOrPartition) || errors.Is(err, sarama.ErrInvalidTopic) ||
		errors.Is(err, breaker.ErrBreakerOpen)
}

// refused lists what a broker says of a record that it will never take.
func refused(err error) bool {
	return errors.Is(err, sarama.ErrPolicyViolation) || errors.Is(err, sarama.ErrInvalidRecord) ||
		errors.Is(err, sarama.ErrInvalidTimestamp)
}
