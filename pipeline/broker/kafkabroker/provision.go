package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Partitions of a topic whose config does not say. A handler's concurrency
// and the order of keys do not depend on them; how many instances can share
// its work does, and how far a topic can grow without moving its keys. Dead
// letters are read by one.
const (
	defaultPartitions     = 4
	deadLetterPartitions  = 1
	brokerDefaultReplicas = -1 // Kafka 2.4 and later take their own default
)

// Topic settings that provisioning knows. A limit of a topic is one of whole
// batches: max.message.bytes is raised for a large max_message, and left
// alone for a small one, which Publish itself keeps.
const (
	settingRetentionAge   = "retention.ms"
	settingRetentionBytes = "retention.bytes"
	settingMaxMessage     = "max.message.bytes"
	forEver               = "-1"
	brokerBatchLimit      = 1_048_588 // Kafka's default for max.message.bytes
	recordHeadroom        = 4 << 10   // of a batch beside payload and metadata
)

// Provision makes topics and subscriptions exist. See broker.Admin. A group
// needs no making, except for its place where it starts at the newest message
// or at a time.
func (b *Broker) Provision(ctx context.Context, topics []pipeline.Topic, subs []broker.Subscription) error {
	for _, topic := range topics {
		if err := b.provision(ctx, topic); err != nil {
			return fmt.Errorf("provision topic %s: %w", topic.Name, err)
		}
	}
	for _, sub := range subs {
		if err := b.begin(ctx, sub); err != nil {
			return b.away(err)
		}
	}
	return nil
}

func (b *Broker) provision(ctx context.Context, topic pipeline.Topic) error {
	if topic.Provision == pipeline.ProvisionOff {
		return nil
	}
	found, err := b.lookUp(ctx, topic.Name)
	switch {
	case err != nil:
		return err
	case found != nil:
	case topic.Provision == pipeline.ProvisionVerify:
		return unroutable("%w: create it with %d partitions, or set its provision to create", broker.ErrMissing, partitionsOf(topic))
	default:
		if found, err = b.create(ctx, topic); err != nil {
			return err
		}
	}
	drift := found.drift(topic)
	if len(drift) == 0 {
		return nil
	}
	if topic.Provision == pipeline.ProvisionVerify {
		return permanent(pipeline.ReasonInvalid, "%w", errors.Join(drift...))
	}
	for _, d := range drift {
		b.log.Warn("the topic is not as the config says", "topic", topic.Name, "found", d)
	}
	return nil
}

// topicState is a topic as the cluster has it.
type topicState struct {
	partitions int
	replicas   int
	settings   map[string]string
}

// lookUp returns the topic's state, nil if it is not there.
func (b *Broker) lookUp(ctx context.Context, name string) (*topicState, error) {
	var found *topicState
	err := b.administer(ctx, func(admin sarama.ClusterAdmin) error {
		described, err := admin.DescribeTopics([]string{name})
		if err != nil {
			return err
		}
		if len(described) == 0 || described[0].Err == sarama.ErrUnknownTopicOrPartition {
			return nil
		}
		if kerr := described[0].Err; kerr != sarama.ErrNoError && kerr != sarama.ErrLeaderNotAvailable {
			return kerr
		}
		state := &topicState{partitions: len(described[0].Partitions), settings: make(map[string]string)}
		for _, p := range described[0].Partitions {
			state.replicas = max(state.replicas, len(p.Replicas))
		}
		//nolint:staticcheck // DescribeConfigs is for many resources at once; this asks for one
		entries, err := admin.DescribeConfig(sarama.ConfigResource{
			Type: sarama.TopicResource, Name: name,
			ConfigNames: []string{settingRetentionAge, settingRetentionBytes, settingMaxMessage},
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			state.settings[e.Name] = e.Value
		}
		found = state
		return nil
	})
	if err != nil {
		return nil, err // found may be written still: an answer that nobody waited for
	}
	return found, nil
}

// create makes the topic, and returns when the cluster knows it.
func (b *Broker) create(ctx context.Context, topic pipeline.Topic) (*topicState, error) {
	detail := &sarama.TopicDetail{
		NumPartitions:     int32(partitionsOf(topic)), //nolint:gosec // a small number
		ReplicationFactor: brokerDefaultReplicas,
		ConfigEntries:     make(map[string]*string),
	}
	if topic.Replicas > 0 {
		detail.ReplicationFactor = int16(topic.Replicas) //nolint:gosec // a small number
	}
	for name, value := range settingsOf(topic) {
		detail.ConfigEntries[name] = &value
	}
	err := b.administer(ctx, func(admin sarama.ClusterAdmin) error {
		if err := admin.CreateTopic(topic.Name, detail, false); !errors.Is(err, sarama.ErrTopicAlreadyExists) {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for {
		found, err := b.lookUp(ctx, topic.Name)
		if err != nil || found != nil {
			return found, err
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

func partitionsOf(topic pipeline.Topic) int {
	switch {
	case topic.Partitions > 0:
		return topic.Partitions
	case topic.DeadLetter:
		return deadLetterPartitions
	}
	return defaultPartitions
}

// settingsOf returns the topic settings that the config asks for. Dead
// letters are kept for ever unless it says otherwise.
func settingsOf(topic pipeline.Topic) map[string]string {
	settings := make(map[string]string)
	switch {
	case topic.Retention.Age > 0:
		settings[settingRetentionAge] = strconv.FormatInt(topic.Retention.Age.Milliseconds(), 10)
	case topic.Retention.Age < 0, topic.DeadLetter:
		settings[settingRetentionAge] = forEver
	}
	switch {
	case topic.Retention.Bytes > 0:
		settings[settingRetentionBytes] = strconv.FormatInt(topic.Retention.Bytes, 10)
	case topic.Retention.Bytes < 0, topic.DeadLetter:
		settings[settingRetentionBytes] = forEver
	}
	if need := topic.MaxMessage + recordHeadroom; need > brokerBatchLimit {
		settings[settingMaxMessage] = strconv.Itoa(need)
	}
	return settings
}

// drift lists how the topic differs from what the config asks for, each with
// its next step. What the config leaves open cannot differ.
func (s *topicState) drift(topic pipeline.Topic) []error {
	var drift []error
	differs := func(what, found, wanted, next string) {
		drift = append(drift, fmt.Errorf("topic %s has %s %s, the config wants %s: %s", topic.Name, what, found, wanted, next))
	}
	if topic.Partitions > 0 && topic.Partitions != s.partitions {
		differs("partitions", strconv.Itoa(s.partitions), strconv.Itoa(topic.Partitions),
			"mend the config, or add partitions with kafka-topics --alter, which moves keys")
	}
	if topic.Replicas > 0 && topic.Replicas != s.replicas {
		differs("replicas", strconv.Itoa(s.replicas), strconv.Itoa(topic.Replicas),
			"mend the config, or move them with kafka-reassign-partitions")
	}
	for name, wanted := range settingsOf(topic) {
		found, told := s.settings[name]
		if !told || found == wanted || name == settingMaxMessage && atLeast(found, wanted) {
			continue
		}
		differs(name, found, wanted, "mend the config, or set it with kafka-configs --alter")
	}
	return drift
}

func atLeast(found, wanted string) bool {
	f, errFound := strconv.ParseInt(found, 10, 64)
	w, errWanted := strconv.ParseInt(wanted, 10, 64)
	return errFound == nil && errWanted == nil && f >= w
}

// administer asks the cluster, again while it cannot be reached, until ctx is
// done. An error of the cluster's own is returned at once.
func (b *Broker) administer(ctx context.Context, ask func(sarama.ClusterAdmin) error) error {
	var last error
	err := insist(ctx, func() error {
		err := b.ask(ctx, func() error {
			admin, err := sarama.NewClusterAdminFromClient(b.control.Client)
			if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
				// About a topic that somebody else asked for at that moment (ping):
				// sarama looks for the controller and for topics in one request.
				return fmt.Errorf("find the controller: %v", err) //nolint:errorlint // no answer to what is asked here
			}
			if err != nil {
				return err
			}
			return ask(admin)
		})
		if decided(err) {
			return final(err)
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		return err
	})
	switch {
	case err == nil, decided(err):
		return denied(err)
	case last != nil && ctx.Err() != nil:
		err = fmt.Errorf("%w (%w)", last, ctx.Err())
	}
	return b.away(err)
}

// decided reports whether err is the cluster's last word.
func decided(err error) bool {
	var answer sarama.KError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer {
	case sarama.ErrNotController, sarama.ErrNotCoordinatorForConsumer, sarama.ErrConsumerCoordinatorNotAvailable,
		sarama.ErrOffsetsLoadInProgress, sarama.ErrRequestTimedOut, sarama.ErrLeaderNotAvailable,
		sarama.ErrNotLeaderForPartition, sarama.ErrNetworkException, sarama.ErrBrokerNotAvailable,
		sarama.ErrSASLAuthenticationFailed: // the user may yet be made, or its password put right
		return false
	}
	return true
}

// away is the error for a cluster that cannot be reached. It names address
// and user.
func (b *Broker) away(err error) error {
	if decided(err) || pipeline.IsPermanent(err) {
		return err
	}
	if state := b.health.get(); state.Err != nil { // it knows why; sarama's last word may be about the wait
		return pipeline.WithReason(state.Err, pipeline.ReasonUnavailable)
	}
	return pipeline.WithReason(b.health.name(err), pipeline.ReasonUnavailable)
}
