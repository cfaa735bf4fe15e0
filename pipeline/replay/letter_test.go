package replay

import (
	"maps"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

var archivedAt = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)

// desk is the clerk of the dead letters of handler prepare.
func desk() clerk {
	c := newClerk(pipeline.Pipeline{
		Topics: map[string]pipeline.Topic{"orders": {Name: "orders", Key: []string{"/id"}}},
		Handlers: []pipeline.Handler{
			{Name: "prepare", From: "orders", DeadLetter: "orders.prepare.dlq", MaxReplays: 3},
			{Name: "second", From: "orders", DeadLetter: "orders.prepare.dlq"},
		},
	}, "orders.prepare.dlq")
	c.now = func() time.Time { return archivedAt }
	return c
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

// TestLetter_Foreign: a dead letter of each system, as it writes them, is
// understood, and its bytes and headers stay as they are.
func TestLetter_Foreign(t *testing.T) {
	t.Parallel()
	const deaths = `[{"count":2,"exchange":"","queue":"orders","reason":"rejected","routing-keys":["orders"],"time":"2026-02-01T08:00:05Z"},` +
		`{"count":1,"exchange":"shop","queue":"incoming","reason":"expired","routing-keys":["o"],"time":"2026-02-01T08:00:00Z"}]`
	for name, c := range map[string]struct {
		meta message.Metadata
		want store.DeadLetter
	}{
		"RabbitMQ, rejected": {
			message.Metadata{"x-death": deaths, "x-first-death-queue": "orders", "x-first-death-reason": "rejected", "x-first-death-exchange": ""},
			store.DeadLetter{
				Topic: "orders", Reason: pipeline.ReasonRejected, ErrorType: "rejected", Attempts: 3,
				Error: "RabbitMQ dead-lettered it from queue orders: rejected", First: at("2026-02-01T08:00:00Z"), Last: at("2026-02-01T08:00:05Z"),
			},
		},
		"RabbitMQ, only x-death, expired first": {
			message.Metadata{"x-death": deaths},
			store.DeadLetter{
				Topic: "incoming", Reason: pipeline.ReasonExpired, ErrorType: "expired", Attempts: 3,
				Error: "RabbitMQ dead-lettered it from queue incoming: expired", First: at("2026-02-01T08:00:00Z"), Last: at("2026-02-01T08:00:05Z"),
			},
		},
		"RabbitMQ, delivery limit, x-death is no JSON": {
			message.Metadata{"x-death": "?", "x-first-death-queue": "q", "x-first-death-reason": "delivery_limit"},
			store.DeadLetter{Topic: "q", Reason: pipeline.ReasonCrash, ErrorType: "delivery_limit", Error: "RabbitMQ dead-lettered it from queue q: delivery_limit"},
		},
		"Kafka Connect": {
			message.Metadata{
				"__connect.errors.topic": "orders", "__connect.errors.partition": "2", "__connect.errors.offset": "41",
				"__connect.errors.connector.name": "sink", "__connect.errors.task.id": "0", "__connect.errors.stage": "VALUE_CONVERTER",
				"__connect.errors.class.name":               "org.apache.kafka.connect.json.JsonConverter",
				"__connect.errors.exception.class.name":     "org.apache.kafka.connect.errors.DataException",
				"__connect.errors.exception.message":        "Converting byte[] to Kafka Connect data failed",
				"__connect.errors.exception.stacktrace":     "org.apache…\n\tat org.apache.kafka.connect.json.JsonConverter.toConnectData(JsonConverter.java:333)",
				"__connect.errors.input.record.unimportant": "x",
			},
			store.DeadLetter{
				Topic: "orders", Subscription: "sink", Partition: 2, Offset: 41, Reason: pipeline.ReasonInvalid,
				ErrorType: "org.apache.kafka.connect.errors.DataException", Error: "Converting byte[] to Kafka Connect data failed",
				Stack: "org.apache…\n\tat org.apache.kafka.connect.json.JsonConverter.toConnectData(JsonConverter.java:333)",
			},
		},
		"Kafka Streams": {
			message.Metadata{
				"__streams.errors.exception": "org.apache.kafka.common.errors.TimeoutException", "__streams.errors.message": "Expiring 1 record(s)",
				"__streams.errors.stacktrace": "s", "__streams.errors.topic": "orders", "__streams.errors.partition": "0", "__streams.errors.offset": "7",
			},
			store.DeadLetter{
				Topic: "orders", Offset: 7, Reason: pipeline.ReasonTimeout, ErrorType: "org.apache.kafka.common.errors.TimeoutException",
				Error: "Expiring 1 record(s)", Stack: "s",
			},
		},
		"Kafka share group": {
			message.Metadata{
				"__dlq.errors.topic": "orders", "__dlq.errors.partition": "1", "__dlq.errors.offset": "9", "__dlq.errors.group": "workers",
				"__dlq.errors.delivery.count": "5",
			},
			store.DeadLetter{Topic: "orders", Subscription: "workers", Partition: 1, Offset: 9, Reason: pipeline.ReasonInternal, Attempts: 5},
		},
		"Spring Kafka, numbers as bytes": {
			message.Metadata{
				"kafka_dlt-original-topic": "orders", "kafka_dlt-original-partition": "\x00\x00\x00\x03", "kafka_dlt-original-offset": "AAAAAAAAAP8=",
				"kafka_dlt-original-consumer-group": "shop", "kafka_dlt-exception-fqcn": "org.springframework.kafka.listener.ListenerExecutionFailedException",
				"kafka_dlt-exception-cause-fqcn": "java.net.ConnectException", "kafka_dlt-exception-message": "Connection refused",
				"kafka_dlt-exception-stacktrace": "st",
			},
			store.DeadLetter{
				Topic: "orders", Subscription: "shop", Partition: 3, Offset: 255, Reason: pipeline.ReasonUnavailable,
				ErrorType: "java.net.ConnectException", Error: "Connection refused", Stack: "st",
			},
		},
		"Spring Cloud Stream on Kafka": {
			message.Metadata{
				"x-original-topic": "orders", "x-original-partition": "\x00\x00\x00\x01", "x-original-offset": "\x00\x00\x00\x00\x00\x00\x00\x05",
				"x-exception-fqcn": "com.fasterxml.jackson.core.JsonParseException", "x-exception-message": "Unexpected character", "x-exception-stacktrace": "st",
			},
			store.DeadLetter{
				Topic: "orders", Partition: 1, Offset: 5, Reason: pipeline.ReasonInvalid,
				ErrorType: "com.fasterxml.jackson.core.JsonParseException", Error: "Unexpected character", Stack: "st",
			},
		},
		"Spring Cloud Stream on RabbitMQ": {
			message.Metadata{"x-exception-message": "no", "x-exception-stacktrace": "st", "x-original-exchange": "shop", "x-original-routingKey": "o"},
			store.DeadLetter{Topic: "shop", Reason: pipeline.ReasonInternal, Error: "no", Stack: "st"},
		},
		"MassTransit, a fault": {
			message.Metadata{
				"MT-Reason": "fault", "MT-Fault-ExceptionType": "System.TimeoutException", "MT-Fault-Message": "late", "MT-Fault-StackTrace": "   at Shop.Prepare()",
				"MT-Fault-InputAddress": "rabbitmq://localhost/shop/orders?bind=true", "MT-Fault-ConsumerType": "Shop.OrderConsumer",
				"MT-Fault-RetryCount": "2", "MT-Fault-RedeliveryCount": "1", "MT-Fault-Timestamp": "2026-02-01T08:00:00.1234567Z",
			},
			store.DeadLetter{
				Topic: "orders", Subscription: "Shop.OrderConsumer", Reason: pipeline.ReasonTimeout, ErrorType: "System.TimeoutException", Error: "late",
				Stack: "   at Shop.Prepare()", Attempts: 4, First: at("2026-02-01T08:00:00.1234567Z"), Last: at("2026-02-01T08:00:00.1234567Z"),
			},
		},
		"MassTransit, skipped": {
			message.Metadata{"MT-Reason": "dead-letter"},
			store.DeadLetter{Reason: pipeline.ReasonUnroutable, Error: "MassTransit knew no consumer for it", Attempts: 1},
		},
		"NServiceBus": {
			message.Metadata{
				"NServiceBus.FailedQ": "orders@WEB1", "NServiceBus.ExceptionInfo.ExceptionType": "System.FormatException",
				"NServiceBus.ExceptionInfo.Message": "bad", "NServiceBus.ExceptionInfo.StackTrace": "   at Shop.Parse()",
				"NServiceBus.ProcessingEndpoint": "Shop", "NServiceBus.TimeOfFailure": "2026-02-01 08:00:00:123456 Z", "NServiceBus.DelayedRetries": "3",
				"x-death": deaths, // it went through a queue of RabbitMQ's, too
			},
			store.DeadLetter{
				Topic: "orders", Subscription: "Shop", Reason: pipeline.ReasonInvalid, ErrorType: "System.FormatException", Error: "bad",
				Stack: "   at Shop.Parse()", Attempts: 4, First: at("2026-02-01T08:00:00.123456Z"), Last: at("2026-02-01T08:00:00.123456Z"),
			},
		},
		"Knative": {
			message.Metadata{"ce_knativeerrordest": "http://shop/orders", "ce_knativeerrorcode": "503", "ce_knativeerrordata": "ZG93bg=="},
			store.DeadLetter{Topic: "http://shop/orders", Reason: pipeline.ReasonUnavailable, ErrorType: "HTTP 503", Error: "HTTP 503: down"},
		},
		"1-11 a message of another system is adopted, here Watermill": {
			message.Metadata{"reason_poisoned": "boom", "topic_poisoned": "orders", "handler_poisoned": "work", "subscriber_poisoned": "amqp"},
			store.DeadLetter{Topic: "orders", Subscription: "work", Reason: pipeline.ReasonInternal, Error: "boom"},
		},
		"X7 a message that nobody explains is adopted": {
			message.Metadata{"colour": "blue"},
			store.DeadLetter{Reason: pipeline.ReasonInternal, ErrorType: Unrouted, Error: "no header says why it died"},
		},
		"1-10 one without a single header is not ignored": {
			nil, store.DeadLetter{Reason: pipeline.ReasonInternal, ErrorType: Unrouted, Error: "no header says why it died"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msg := message.NewMessage("m-1", []byte("\x00 what died"))
			msg.Metadata = maps.Clone(c.meta)
			got := desk().letter(msg)

			require.NotEmpty(t, got.Copy)
			require.Equal(t, got.Copy, desk().letter(msg).Copy, "the broker hands it out again")
			require.NotEmpty(t, got.Fingerprint)
			want := c.want
			want.Handler, want.Message, want.Correlation = "prepare", "m-1", "m-1"
			want.Content = store.Content{Headers: c.meta, Payload: []byte("\x00 what died")}
			want.Copy, want.Fingerprint = got.Copy, got.Fingerprint
			if want.Offset == 0 {
				want.Offset = -1
			}
			if want.Last.IsZero() {
				want.First, want.Last = archivedAt, archivedAt
			}
			require.Equal(t, want, got)
		})
	}
}

// ownLetter is as a handler's settling writes it.
func ownLetter() *message.Message {
	msg := message.NewMessage("m-1", []byte(`{"id":"A1"}`))
	msg.Metadata = message.Metadata{
		"shop": "north", "correlationid": "c-1",
		"dltopic": "orders", "dlpartition": "2", "dloffset": "7", "dlgroup": "orders.prepare", "dlhandler": "prepare",
		"dlreason": "timeout", "dlerror": "call: late", "dlerrortype": "*url.Error", "dlstack": "goroutine 1", "dlattempts": "4",
		"dlfirsttime": "2026-02-01T08:00:00.000001Z", "dllasttime": "2026-02-01T08:01:00.000002Z", "dlfingerprint": "f1", "dlreplays": "2",
		"reason_poisoned": "call: late", "topic_poisoned": "orders", "handler_poisoned": "prepare", "subscriber_poisoned": "orders.prepare",
	}
	return msg
}

// TestLetter_Own: the story goes into the letter's fields, and what died is
// left as it was.
func TestLetter_Own(t *testing.T) {
	t.Parallel()
	got := desk().letter(ownLetter())
	require.Equal(t, store.DeadLetter{
		Handler: "prepare", Message: "m-1", Topic: "orders", Subscription: "orders.prepare", Partition: 2, Offset: 7, Key: "A1", Correlation: "c-1",
		Reason: pipeline.ReasonTimeout, Error: "call: late", ErrorType: "*url.Error", Stack: "goroutine 1", Fingerprint: "f1", Attempts: 4, Replays: 2,
		First: at("2026-02-01T08:00:00.000001Z"), Last: at("2026-02-01T08:01:00.000002Z"), Copy: got.Copy,
		Content: store.Content{Headers: map[string]string{"shop": "north", "correlationid": "c-1"}, Payload: []byte(`{"id":"A1"}`)},
	}, got)

	again := ownLetter()
	again.Metadata["dllasttime"] = "2026-02-02T08:00:00Z"
	require.NotEqual(t, got.Copy, desk().letter(again).Copy, "another death")

	parked := ownLetter()
	parked.SetContext(pipeline.WithOrigin(t.Context(), &pipeline.Origin{Topic: "orders.prepare.parking", Offset: 3}))
	require.True(t, desk().letter(parked).Parked)
	require.Equal(t, got.Copy, desk().letter(parked).Copy, "its own place and time count, not where it was read")
}

// TestLetter_TwinsAreNotMerged: of messages whose id is a hash of their content
// two may be alike in everything. Each is a letter.
func TestLetter_TwinsAreNotMerged(t *testing.T) {
	t.Parallel()
	twin := func(offset int64) store.DeadLetter {
		msg := message.NewMessage("hash", []byte("x"))
		msg.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
		msg.SetContext(pipeline.WithOrigin(t.Context(), &pipeline.Origin{Topic: "t", Offset: offset}))
		return desk().letter(msg)
	}
	one, two := twin(-1), twin(-1)
	require.NotEqual(t, one.Copy, two.Copy, "where the broker does not count")
	one, two = twin(1), twin(2)
	require.NotEqual(t, one.Copy, two.Copy)
	again := twin(1)
	require.Equal(t, one.Copy, again.Copy)
}

// TestLetter_AnyMessage: whatever a message says, it becomes a letter that the
// store takes, with its payload and, but for our own tale, its headers.
func TestLetter_AnyMessage(t *testing.T) {
	t.Parallel()
	names := append([]string{"x-death", "x-first-death-queue", "NServiceBus.FailedQ", "MT-Reason", "__connect.errors.topic", "kafka_dlt-original-topic"}, tale...)
	rapid.Check(t, func(r *rapid.T) {
		hostile := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) })
		text := rapid.OneOf(hostile, rapid.SampledFrom([]string{"-1", "99999999999999999999", "[]", `[{"count":-5,"time":3}]`, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}))
		msg := message.NewMessage(hostile.Draw(r, "id"), rapid.SliceOf(rapid.Byte()).Draw(r, "payload"))
		msg.Metadata = rapid.MapOf(rapid.OneOf(hostile, rapid.SampledFrom(names)), text).Draw(r, "meta")
		if rapid.Bool().Draw(r, "long") {
			msg.UUID += string(make([]byte, 10_000))
		}
		meta := maps.Clone(msg.Metadata)
		l := desk().letter(msg)
		require.Equal(r, meta, msg.Metadata, "the message itself is not changed")
		require.NotEmpty(r, l.Handler)
		require.NotEmpty(r, l.Message)
		require.NotEmpty(r, l.Copy)
		require.Contains(r, pipeline.Reasons(), l.Reason)
		require.LessOrEqual(r, len(l.Message), store.MaxID)
		require.LessOrEqual(r, len(l.Copy), store.MaxID+50)
		require.False(r, l.First.IsZero())
		require.Equal(r, string(msg.Payload), string(l.Payload))
		for name, value := range l.Headers {
			require.Equal(r, meta[name], value)
			delete(meta, name)
		}
		for name := range meta {
			require.Contains(r, tale, name)
		}
	})
}
