package dashboard

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Content is what a message says, each byte of it: what JSON's text cannot
// hold is in base64.
type Content struct {
	Headers       map[string]string `json:"headers,omitzero"`
	HeadersBase64 []RawHeader       `json:"headers_base64,omitempty" doc:"headers whose name or value is not UTF-8"`
	Payload       *string           `json:"payload,omitzero" doc:"the payload as text"`
	PayloadBase64 []byte            `json:"payload_base64,omitzero" doc:"or its bytes, where they are no text"`
}

// RawHeader is a header that is not text.
type RawHeader struct {
	Name  []byte `json:"name"`
	Value []byte `json:"value"`
}

// NewContent is c as JSON can hold it.
func NewContent(c store.Content) Content {
	out := Content{Headers: make(map[string]string, len(c.Headers))}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value := c.Headers[name]
		if utf8.ValidString(name) && utf8.ValidString(value) {
			out.Headers[name] = value
		} else {
			out.HeadersBase64 = append(out.HeadersBase64, RawHeader{[]byte(name), []byte(value)})
		}
	}
	if text := string(c.Payload); utf8.ValidString(text) {
		out.Payload = &text
	} else {
		out.PayloadBase64 = c.Payload
	}
	return out
}

// Content returns the bytes.
func (c Content) Content() store.Content {
	out := store.Content{Headers: maps.Clone(c.Headers), Payload: c.PayloadBase64}
	if out.Headers == nil {
		out.Headers = make(map[string]string)
	}
	for _, h := range c.HeadersBase64 {
		out.Headers[string(h.Name)] = string(h.Value)
	}
	if c.Payload != nil {
		out.Payload = []byte(*c.Payload)
	}
	return out
}

// check refuses what is not one content.
func (c Content) check() error {
	if (c.Payload == nil) == (c.PayloadBase64 == nil) {
		return fmt.Errorf("%w: give either payload or payload_base64", store.ErrInvalid)
	}
	return nil
}

// Letter is a dead letter as the API shows it.
type Letter struct {
	ID           int64           `json:"id"`
	State        store.State     `json:"state"`
	Version      int64           `json:"version" doc:"what an edit must have seen"`
	Handler      string          `json:"handler" doc:"that failed"`
	Message      string          `json:"message" doc:"the message's id"`
	Topic        string          `json:"topic" doc:"where it was read"`
	Subscription string          `json:"subscription,omitempty"`
	Partition    int32           `json:"partition"`
	Offset       int64           `json:"offset" doc:"-1 where the broker has none"`
	Key          string          `json:"key,omitempty"`
	Correlation  string          `json:"correlation,omitempty"`
	Reason       pipeline.Reason `json:"reason"`
	Error        string          `json:"error"`
	ErrorType    string          `json:"error_type,omitempty" doc:"UNROUTED: nothing says why it died"`
	Stack        string          `json:"stack,omitempty"`
	Fingerprint  string          `json:"fingerprint" doc:"names the group"`
	Attempts     int             `json:"attempts"`
	First        time.Time       `json:"first" doc:"failure"`
	Last         time.Time       `json:"last" doc:"failure"`
	Deaths       int             `json:"deaths"`
	Replays      int             `json:"replays"`
	Parked       bool            `json:"parked,omitempty" doc:"it was replayed too often"`
	Note         string          `json:"note,omitempty"`
	Buried       time.Time       `json:"buried" doc:"when the store got it"`
	Changed      time.Time       `json:"changed"`
	Expires      *time.Time      `json:"expires,omitempty" doc:"when an archived one goes"`
	Edited       bool            `json:"edited,omitempty" doc:"the content is not the original's"`
	Content
}

// newLetter is l with its content, or without where it was read bare.
func newLetter(l store.DeadLetter, bare bool) Letter {
	out := Letter{
		ID: l.ID, State: l.State, Version: l.Version, Handler: l.Handler, Message: readable(l.Message), Topic: l.Topic,
		Subscription: l.Subscription, Partition: l.Partition, Offset: l.Offset, Key: readable(l.Key), Correlation: readable(l.Correlation),
		Reason: l.Reason, Error: l.Error, ErrorType: l.ErrorType, Stack: l.Stack, Fingerprint: l.Fingerprint, Attempts: l.Attempts,
		First: l.First, Last: l.Last, Deaths: l.Deaths, Replays: l.Replays, Parked: l.Parked, Note: l.Note,
		Buried: l.Buried, Changed: l.Changed, Edited: l.Edited,
	}
	if !l.Expires.IsZero() {
		out.Expires = &l.Expires
	}
	if !bare {
		out.Content = NewContent(l.Content)
	}
	return out
}

// LetterGroup is letters of one cause in one handler.
type LetterGroup struct {
	Handler     string                `json:"handler"`
	Fingerprint string                `json:"fingerprint"`
	Reason      pipeline.Reason       `json:"reason"`
	ErrorType   string                `json:"error_type,omitempty"`
	Error       string                `json:"error" doc:"the latest"`
	Note        string                `json:"note,omitempty"`
	First       time.Time             `json:"first"`
	Last        time.Time             `json:"last"`
	Counts      map[store.State]int64 `json:"counts" doc:"letters by state"`
}

// ValueGroup is letters that share a header's or a member's value.
type ValueGroup struct {
	Value   string    `json:"value"`
	Missing bool      `json:"missing,omitempty" doc:"they have no such value"`
	Count   int64     `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}
