package replay

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
)

// system reads the dead letters of one other system; false: it is none of its.
type system func(message.Metadata) (story, bool)

// systems are asked in this order. Those that tell most come first: a letter
// of NServiceBus, say, may have been through a queue of RabbitMQ's, too.
var systems = []system{
	nServiceBus, massTransit, connect, streams, shareGroup, springKafka, springCloud, knative, watermill, rabbitMQ,
}

// foreign reads a letter that is not ours. It knows no error: what nobody
// understands is adopted.
func foreign(meta message.Metadata) story {
	for _, read := range systems {
		if s, ok := read(meta); ok {
			if s.reason == "" {
				s.reason = reasonOf(s.errType)
			}
			return s
		}
	}
	return story{errType: Unrouted, err: "no header says why it died", reason: pipeline.ReasonInternal}
}

func nServiceBus(meta message.Metadata) (story, bool) {
	const info = "NServiceBus.ExceptionInfo."
	queue := meta["NServiceBus.FailedQ"]
	if queue == "" && meta[info+"ExceptionType"] == "" {
		return story{}, false
	}
	queue, _, _ = strings.Cut(queue, "@")       // queue@machine
	failed := meta["NServiceBus.TimeOfFailure"] // 2026-02-01 08:00:00:123456 Z
	if i := strings.LastIndexByte(failed, ':'); i >= 0 {
		failed = failed[:i] + "." + failed[i+1:]
	}
	return story{
		topic: queue, group: meta["NServiceBus.ProcessingEndpoint"],
		err: meta[info+"Message"], errType: meta[info+"ExceptionType"], stack: meta[info+"StackTrace"],
		attempts: 1 + number(meta["NServiceBus.FLRetries"]) + number(meta["NServiceBus.Retries"]) + number(meta["NServiceBus.DelayedRetries"]),
		last:     timeOf(failed),
	}, true
}

func massTransit(meta message.Metadata) (story, bool) {
	const fault = "MT-Fault-"
	if meta[fault+"ExceptionType"] == "" && meta["MT-Reason"] == "" {
		return story{}, false
	}
	s := story{
		topic: lastPart(meta[fault+"InputAddress"]), group: meta[fault+"ConsumerType"],
		err: meta[fault+"Message"], errType: meta[fault+"ExceptionType"], stack: meta[fault+"StackTrace"],
		attempts: 1 + number(meta[fault+"RetryCount"]) + number(meta[fault+"RedeliveryCount"]),
		last:     timeOf(meta[fault+"Timestamp"]),
	}
	if meta["MT-Reason"] == "dead-letter" && s.errType == "" { // nobody consumes its type
		s.reason, s.err = pipeline.ReasonUnroutable, "MassTransit knew no consumer for it"
	}
	return s, true
}

// lastPart is the queue in rabbitmq://host/vhost/queue?bind=true.
func lastPart(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return address[strings.LastIndexByte(address, '/')+1:]
}

func connect(meta message.Metadata) (story, bool) {
	const errors = "__connect.errors."
	s := story{
		topic: meta[errors+"topic"], group: meta[errors+"connector.name"],
		place: placeOf(meta[errors+"partition"], meta[errors+"offset"]),
		err:   meta[errors+"exception.message"], errType: meta[errors+"exception.class.name"], stack: meta[errors+"exception.stacktrace"],
	}
	if strings.HasSuffix(meta[errors+"stage"], "_CONVERTER") || meta[errors+"stage"] == "TRANSFORMATION" {
		s.reason = pipeline.ReasonInvalid
	}
	return s, s.topic != "" || s.errType != ""
}

func streams(meta message.Metadata) (story, bool) {
	const errors = "__streams.errors."
	s := story{
		topic: meta[errors+"topic"], place: placeOf(meta[errors+"partition"], meta[errors+"offset"]),
		err: meta[errors+"message"], errType: meta[errors+"exception"], stack: meta[errors+"stacktrace"],
	}
	return s, s.topic != "" || s.errType != ""
}

func shareGroup(meta message.Metadata) (story, bool) {
	const errors = "__dlq.errors."
	s := story{
		topic: meta[errors+"topic"], group: meta[errors+"group"], place: placeOf(meta[errors+"partition"], meta[errors+"offset"]),
		err: meta[errors+"message"], attempts: number(meta[errors+"delivery.count"]),
	}
	return s, s.topic != ""
}

func springKafka(meta message.Metadata) (story, bool) {
	const dlt = "kafka_dlt-"
	errType := meta[dlt+"exception-cause-fqcn"]
	if errType == "" { // the outer one is the listener's
		errType = meta[dlt+"exception-fqcn"]
	}
	s := story{
		topic: meta[dlt+"original-topic"], group: meta[dlt+"original-consumer-group"],
		place: placeOf(integer(meta[dlt+"original-partition"]), integer(meta[dlt+"original-offset"])),
		err:   meta[dlt+"exception-message"], errType: errType, stack: meta[dlt+"exception-stacktrace"],
	}
	return s, s.topic != "" || s.errType != ""
}

// springCloud is Spring Cloud Stream's, on Kafka and on RabbitMQ.
func springCloud(meta message.Metadata) (story, bool) {
	s := story{
		topic: meta["x-original-topic"], place: placeOf(integer(meta["x-original-partition"]), integer(meta["x-original-offset"])),
		err: meta["x-exception-message"], errType: meta["x-exception-fqcn"], stack: meta["x-exception-stacktrace"],
	}
	if s.topic == "" {
		s.topic = meta["x-original-exchange"]
	}
	return s, s.err != "" || s.errType != "" || s.stack != "" || meta["x-original-topic"] != ""
}

// integer reads a number that Java may have written in four or eight bytes,
// which a broker that shows text shows in base64.
func integer(text string) string {
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return text
	}
	b := []byte(text)
	if len(b) != 4 && len(b) != 8 {
		b, _ = base64.StdEncoding.DecodeString(text)
	}
	switch len(b) {
	case 4:
		return strconv.FormatInt(int64(int32(binary.BigEndian.Uint32(b))), 10) //nolint:gosec // it was one
	case 8:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10) //nolint:gosec // the same
	}
	return ""
}

func knative(meta message.Metadata) (story, bool) {
	attribute := func(name string) string {
		for _, prefix := range []string{"", "ce_", "ce-", "cloudEvents_", "cloudEvents:"} {
			if v := meta[prefix+name]; v != "" {
				return v
			}
		}
		return ""
	}
	dest, code, data := attribute("knativeerrordest"), attribute("knativeerrorcode"), attribute("knativeerrordata")
	if dest == "" && code == "" {
		return story{}, false
	}
	if text, err := base64.StdEncoding.DecodeString(data); err == nil && len(text) > 0 {
		data = string(text)
	}
	s := story{topic: dest, errType: "HTTP " + code, err: "HTTP " + code + ": " + data, reason: pipeline.ReasonInternal}
	switch status := number(code); {
	case status == 429:
		s.reason = pipeline.ReasonThrottled
	case status == 408 || status == 504:
		s.reason = pipeline.ReasonTimeout
	case status >= 500:
		s.reason = pipeline.ReasonUnavailable
	case status >= 400:
		s.reason = pipeline.ReasonRejected
	}
	return s, true
}

// watermill is its poison queue's middleware.
func watermill(meta message.Metadata) (story, bool) {
	s := story{topic: meta[pipeline.MetaPoisonTopic], group: meta[pipeline.MetaPoisonHandler], err: meta[pipeline.MetaPoisonReason]}
	return s, s.err != "" || s.topic != ""
}

// death is an entry of x-death, as the broker's driver shows the header.
type death struct {
	Count    int64    `json:"count"`
	Reason   string   `json:"reason"`
	Queue    string   `json:"queue"`
	Exchange string   `json:"exchange"`
	Keys     []string `json:"routing-keys"`
	Time     string   `json:"time"`
}

func rabbitMQ(meta message.Metadata) (story, bool) {
	queue, why := meta["x-first-death-queue"], meta["x-first-death-reason"]
	var deaths []death
	if json.Unmarshal([]byte(meta["x-death"]), &deaths) != nil {
		deaths = nil // it is text of another kind: the rest still counts
	}
	if len(deaths) > 0 && queue == "" { // the latest is first
		queue, why = deaths[len(deaths)-1].Queue, deaths[len(deaths)-1].Reason
	}
	if queue == "" {
		return story{}, false
	}
	s := story{topic: queue, errType: why, err: "RabbitMQ dead-lettered it from queue " + queue + ": " + why}
	switch why {
	case "rejected":
		s.reason = pipeline.ReasonRejected
	case "expired":
		s.reason = pipeline.ReasonExpired
	case "delivery_limit": // nobody lived to acknowledge it
		s.reason = pipeline.ReasonCrash
	default:
		s.reason = pipeline.ReasonInternal
	}
	for _, d := range deaths {
		s.attempts += int(min(max(d.Count, 0), 1<<31))
		s.first, s.last = around(s.first, s.last, timeOf(d.Time))
	}
	return s, true
}

// around widens a span of time to hold t.
func around(first, last, t time.Time) (time.Time, time.Time) {
	if !t.IsZero() && (first.IsZero() || t.Before(first)) {
		first = t
	}
	if t.After(last) {
		last = t
	}
	return first, last
}

// reasonOf guesses a reason by the name of an exception.
func reasonOf(errType string) pipeline.Reason {
	for _, guess := range []struct {
		reason pipeline.Reason
		parts  []string
	}{
		{pipeline.ReasonTimeout, []string{"timeout"}},
		{pipeline.ReasonInvalid, []string{"serialization", "serializer", "conversion", "parse", "dataexception", "validation", "schema", "format"}},
		{pipeline.ReasonUnavailable, []string{"connect", "socket", "unavailable", "unreachable"}},
		{pipeline.ReasonThrottled, []string{"throttl", "ratelimit", "toomanyrequests"}},
	} {
		for _, part := range guess.parts {
			if strings.Contains(strings.ToLower(errType), part) {
				return guess.reason
			}
		}
	}
	return pipeline.ReasonInternal
}
