package kafkabroker

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Answers with an error, in the shape that each request wants.

func failTop(request kmsg.Request, code int16) kmsg.Response {
	switch r := request.ResponseKind().(type) {
	case *kmsg.JoinGroupResponse:
		r.ErrorCode = code
		return r
	case *kmsg.SyncGroupResponse:
		r.ErrorCode = code
		return r
	case *kmsg.HeartbeatResponse:
		r.ErrorCode = code
		return r
	case *kmsg.InitProducerIDResponse:
		r.ErrorCode = code
		return r
	case *kmsg.FindCoordinatorResponse:
		r.ErrorCode = code
		for _, key := range request.(*kmsg.FindCoordinatorRequest).CoordinatorKeys {
			r.Coordinators = append(r.Coordinators, kmsg.FindCoordinatorResponseCoordinator{Key: key, ErrorCode: code})
		}
		return r
	}
	panic(errors.New("no such response"))
}

func failProduce(request kmsg.Request, code int16) kmsg.Response {
	response := request.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range request.(*kmsg.ProduceRequest).Topics {
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			partition := kmsg.NewProduceResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, code
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

func failFetch(request kmsg.Request, code int16) kmsg.Response {
	response := request.ResponseKind().(*kmsg.FetchResponse)
	for _, t := range request.(*kmsg.FetchRequest).Topics {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			partition := kmsg.NewFetchResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, code
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

func failCommit(request kmsg.Request, code int16) kmsg.Response {
	response := request.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range request.(*kmsg.OffsetCommitRequest).Topics {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewOffsetCommitResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, code
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

func failOffsetFetch(request kmsg.Request, code int16) kmsg.Response {
	response := request.ResponseKind().(*kmsg.OffsetFetchResponse)
	response.ErrorCode = code
	for _, g := range request.(*kmsg.OffsetFetchRequest).Groups {
		group := kmsg.NewOffsetFetchResponseGroup()
		group.Group, group.ErrorCode = g.Group, code
		response.Groups = append(response.Groups, group)
	}
	return response
}

func failListOffsets(request kmsg.Request, code int16) kmsg.Response {
	response := request.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range request.(*kmsg.ListOffsetsRequest).Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			partition := kmsg.NewListOffsetsResponseTopicPartition()
			partition.Partition, partition.ErrorCode = p.Partition, code
			topic.Partitions = append(topic.Partitions, partition)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}
