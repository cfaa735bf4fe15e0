package kafkabroker

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

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

// verdict is what becomes of a batch.
type verdict int

const (
	taken   verdict = iota // the brokers have it
	again                  // it is to be sent again, under its numbers
	refused                // the brokers do not have it, and never will
	fatal                  // nobody knows what its numbers stand for
)

// verdictOf reads an answer to a batch. doubt says that the brokers may have it
// from an earlier try, so that its numbers can't be given to another.
func verdictOf(err error, doubt bool) verdict {
	switch {
	case err == nil, errors.Is(err, sarama.ErrDuplicateSequenceNumber):
		return taken
	case mayPass(err):
		return again
	case neverTaken(err) && !doubt:
		return refused
	}
	return fatal
}

// mayPass reports whether the same batch may be taken later: there was no
// answer, or one that says so.
func mayPass(err error) bool {
	var answer sarama.KError
	if !errors.As(err, &answer) {
		return !neverSent(err)
	}
	switch answer {
	case sarama.ErrInvalidMessage, sarama.ErrUnknownTopicOrPartition, sarama.ErrLeaderNotAvailable,
		sarama.ErrNotLeaderForPartition, sarama.ErrRequestTimedOut, sarama.ErrNotEnoughReplicas,
		sarama.ErrNotEnoughReplicasAfterAppend, sarama.ErrKafkaStorageError, sarama.ErrNetworkException,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch:
		return true
	}
	return false
}

// mayHave reports whether brokers may have a batch of which they say that it is
// to be tried again, or say nothing.
func mayHave(err error) bool {
	var answer sarama.KError
	if !errors.As(err, &answer) {
		return !errors.Is(err, sarama.ErrNotConnected)
	}
	switch answer {
	case sarama.ErrRequestTimedOut, sarama.ErrNotEnoughReplicasAfterAppend, sarama.ErrKafkaStorageError, sarama.ErrNetworkException:
		return true
	}
	return false
}

// inDoubt says that nobody knows whether a record is there, whatever the last
// answer was.
func inDoubt(err error) error {
	return fmt.Errorf("the broker may have it or not, it said: %v", err) //nolint:errorlint // what it said is not true of all
}

// neverTaken reports whether brokers refuse a batch before they look at its numbers.
func neverTaken(err error) bool {
	return neverSent(err) || saysTooLarge(err) || refusesRecord(err) ||
		errors.Is(err, sarama.ErrTopicAuthorizationFailed) || errors.Is(err, sarama.ErrClusterAuthorizationFailed) ||
		errors.Is(err, sarama.ErrInvalidTopic) || errors.Is(err, sarama.ErrUnsupportedForMessageFormat)
}

// neverSent reports whether sarama could not even write the request.
func neverSent(err error) bool {
	var encoding sarama.PacketEncodingError
	return errors.As(err, &encoding) || errors.Is(err, sarama.ErrUnsupportedVersion)
}

// saysTooLarge reports whether err is the broker's word for a batch over the
// limit.
func saysTooLarge(err error) bool {
	return errors.Is(err, sarama.ErrMessageSizeTooLarge) || errors.Is(err, sarama.ErrMessageSetSizeTooLarge)
}

// saysUnknown reports whether err is about a topic that the broker does not
// know.
func saysUnknown(err error) bool {
	return errors.Is(err, sarama.ErrUnknownTopicOrPartition) || errors.Is(err, sarama.ErrInvalidTopic)
}

// refusesRecord lists what a broker says of a record that it will never take.
func refusesRecord(err error) bool {
	return errors.Is(err, sarama.ErrPolicyViolation) || errors.Is(err, sarama.ErrInvalidRecord) ||
		errors.Is(err, sarama.ErrInvalidTimestamp)
}
