package kafkabroker

import (
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// wireName is the driver's entry in broker.MetaWire.
const wireName = "kafka"

// wire is what metadata, a map of text to text, cannot hold of a record: the
// order of its headers, repeats of a name, values and keys that are not text.
// It travels in metadata under broker.MetaWire, whose value is a JSON object
// with an entry for each driver that has something to keep, and only with
// records that need it. The entries of others travel on as a header.
type wire struct {
	// Headers are the record's, in order; nil: metadata says it all.
	Headers []wireHeader `json:"headers,omitempty"`
	// Key is the record's key where metadata partitionkey could not say it.
	Key *blob `json:"key,omitempty"`
	// KeyBeside is the metadata partitionkey that came with such a key. When
	// another is there, somebody has set it, and Key counts no more.
	KeyBeside string `json:"key_beside,omitempty"`

	others string // the value without our entry; "": there are none
}

// wireHeader is one header: its name alone where the value is the text that
// metadata has, else name and value.
type wireHeader struct {
	name    blob
	value   *blob
	noValue bool // the value is null in Kafka's sense, not empty
}

// blob is bytes in JSON: a string where they are text, else {"b64": "..."}.
type blob []byte

type base64Blob struct {
	B64 []byte `json:"b64"`
}

func (b blob) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal(base64Blob{b})
}

func (b *blob) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		*b = []byte(text)
		return nil
	}
	var binary base64Blob
	if err := json.Unmarshal(data, &binary); err != nil {
		return err
	}
	*b = binary.B64
	return nil
}

func (h wireHeader) MarshalJSON() ([]byte, error) {
	switch {
	case h.noValue:
		return json.Marshal([]any{h.name, nil})
	case h.value != nil:
		return json.Marshal([]any{h.name, *h.value})
	}
	return json.Marshal(h.name)
}

func (h *wireHeader) UnmarshalJSON(data []byte) error {
	if data[0] != '[' {
		return json.Unmarshal(data, &h.name)
	}
	var pair [2]*blob
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if pair[0] != nil {
		h.name = *pair[0]
	}
	h.value, h.noValue = pair[1], pair[1] == nil
	return nil
}

// text is how bytes stand in metadata: as they are where they are text, else
// in base64.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// describe returns the headers as wire keeps them, or nil if publishing the
// metadata that they give restores them as they are: in canonical order, each
// name once, all of it text.
func describe(headers []*sarama.RecordHeader) []wireHeader {
	if canonical(headers) {
		return nil
	}
	described := make([]wireHeader, len(headers))
	last := make(map[string]int, len(headers))
	for i, h := range headers {
		last[string(h.Key)] = i
	}
	for i, h := range headers {
		described[i].name = h.Key
		switch {
		case h.Value == nil:
			described[i].noValue = true
		case last[string(h.Key)] != i || !utf8.Valid(h.Value) || string(h.Key) == broker.MetaWire:
			value := blob(h.Value)
			described[i].value = &value
		}
	}
	return described
}

// canonical reports whether the headers are as appendMetadata writes them from
// metadata alone: the id first, the others sorted.
func canonical(headers []*sarama.RecordHeader) bool {
	if len(headers) > 0 && string(headers[0].Key) == headerID {
		headers = headers[1:]
	}
	for i, h := range headers {
		if h.Value == nil || !utf8.Valid(h.Value) || !utf8.Valid(h.Key) || string(h.Key) == headerID {
			return false
		}
		if i > 0 && string(headers[i-1].Key) >= string(h.Key) {
			return false
		}
	}
	return true
}

// restore writes the headers that w describes, as far as metadata still says
// the same of them, and returns the names that it has dealt with.
func (w *wire) restore(id string, metadata message.Metadata) ([]sarama.RecordHeader, map[string]bool) {
	headers := make([]sarama.RecordHeader, 0, len(w.Headers)+len(metadata)+1)
	dealt := make(map[string]bool, len(w.Headers))
	last := make(map[string]int, len(w.Headers))
	for i, h := range w.Headers {
		last[string(h.name)] = i
	}
	for i, h := range w.Headers {
		name := text(h.name)
		now, there := metadata[name]
		switch name {
		case headerID:
			now, there = id, true
		case broker.MetaWire: // what metadata has under this name is also w
			now, there = w.others, w.others != ""
			if came := h.text(""); entriesOf(came) == nil || withoutEntry(came) == now {
				now, there = came, true
			}
		}
		newest := last[string(h.name)]
		same := w.Headers[newest].text(now) == now
		switch {
		case there && same:
			headers = append(headers, sarama.RecordHeader{Key: h.name, Value: h.bytes(now)})
		case there && i == newest: // somebody has set it anew
			headers = append(headers, sarama.RecordHeader{Key: h.name, Value: []byte(now)})
		}
		dealt[name] = true
	}
	return headers, dealt
}

// text returns what metadata was given of the header; now, if it was the text
// that is there.
func (h wireHeader) text(now string) string {
	switch {
	case h.noValue:
		return ""
	case h.value != nil:
		return text(*h.value)
	}
	return now
}

func (h wireHeader) bytes(now string) []byte {
	switch {
	case h.noValue:
		return nil
	case h.value != nil:
		return *h.value
	}
	return []byte(now)
}

// annotate adds our entry to metadata if it says anything.
func (w *wire) annotate(metadata message.Metadata) {
	if w.Headers == nil && w.Key == nil {
		return
	}
	entries := entriesOf(metadata[broker.MetaWire])
	if entries == nil {
		entries = make(map[string]json.RawMessage)
	}
	own, err := json.Marshal(w)
	if err != nil {
		return // never: it is made of text
	}
	entries[wireName] = own
	all, _ := json.Marshal(entries) // of JSON: cannot fail
	metadata[broker.MetaWire] = string(all)
}

// wireOf returns our entry in metadata, or nil if there is none.
func wireOf(metadata message.Metadata) *wire {
	value, ok := metadata[broker.MetaWire]
	if !ok {
		return nil
	}
	own, ok := entriesOf(value)[wireName]
	if !ok {
		return nil
	}
	w := &wire{others: withoutEntry(value)}
	if err := json.Unmarshal(own, w); err != nil {
		return nil
	}
	return w
}

// withoutEntry returns the value of broker.MetaWire without our entry, "" if
// nothing is left. What is no such value stays as it is.
func withoutEntry(value string) string {
	entries := entriesOf(value)
	if entries == nil {
		return value
	}
	delete(entries, wireName)
	if len(entries) == 0 {
		return ""
	}
	rest, _ := json.Marshal(entries) // of JSON: cannot fail
	return string(rest)
}

// entriesOf returns the entries of all drivers, nil if value has none.
func entriesOf(value string) map[string]json.RawMessage {
	var entries map[string]json.RawMessage
	if value == "" || json.Unmarshal([]byte(value), &entries) != nil {
		return nil
	}
	return entries
}
