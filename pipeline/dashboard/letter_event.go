package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/replay"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// eventType is the CloudEvents type of an exported dead letter.
const eventType = "waybill.dead_letter"

// LetterEvent is a dead letter as a CloudEvents 1.0 event: the message that
// died is its data, what happened to it is in attributes. Text that is not
// UTF-8 is in dlraw, so that each byte comes back.
type LetterEvent struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Time        time.Time `json:"time"`
	Subject     string    `json:"subject,omitzero"`

	CorrelationID string `json:"correlationid,omitzero"`
	PartitionKey  string `json:"partitionkey,omitzero"`

	Topic       string          `json:"dltopic,omitzero"`
	Partition   int32           `json:"dlpartition"`
	Offset      int64           `json:"dloffset"`
	Group       string          `json:"dlgroup,omitzero"`
	Handler     string          `json:"dlhandler"`
	Reason      pipeline.Reason `json:"dlreason"`
	Error       string          `json:"dlerror,omitzero"`
	ErrorType   string          `json:"dlerrortype,omitzero"`
	Stack       string          `json:"dlstack,omitzero"`
	Attempts    int             `json:"dlattempts"`
	First       time.Time       `json:"dlfirsttime"`
	Last        time.Time       `json:"dllasttime"`
	Fingerprint string          `json:"dlfingerprint"`
	Replays     int             `json:"dlreplays"`
	Parked      bool            `json:"dlparked,omitzero"`
	State       store.State     `json:"dlstate"`
	Note        string          `json:"dlnote,omitzero"`
	Edited      bool            `json:"dledited,omitzero"`
	Copy        string          `json:"dlcopy,omitzero"`

	// CloudEvents attributes are scalars, so headers are JSON in a text.
	Headers string `json:"dlheaders"`
	Raw     []byte `json:"dlraw,omitzero"` // JSON of rawTexts

	Data []byte `json:"data_base64"`
}

// rawTexts are the bytes of what is not UTF-8.
type rawTexts struct {
	Message     []byte      `json:"message,omitzero"`
	Key         []byte      `json:"key,omitzero"`
	Correlation []byte      `json:"correlation,omitzero"`
	Copy        []byte      `json:"copy,omitzero"`
	Headers     []RawHeader `json:"headers,omitzero"`
}

// newLetterEvent is l, whole, as an event.
func newLetterEvent(l store.DeadLetter) (LetterEvent, error) {
	var raw rawTexts
	text := func(s string, bytes *[]byte) string {
		if !utf8.ValidString(s) {
			*bytes = []byte(s)
		}
		return readable(s)
	}
	content := NewContent(l.Content)
	raw.Headers = content.HeadersBase64
	e := LetterEvent{
		SpecVersion: "1.0", ID: text(l.Message, &raw.Message), Source: "/waybill/handlers/" + l.Handler, Type: eventType, Time: l.Last,
		Subject: l.Topic, CorrelationID: text(l.Correlation, &raw.Correlation), PartitionKey: text(l.Key, &raw.Key),
		Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Group: l.Subscription, Handler: l.Handler,
		Reason: l.Reason, Error: l.Error, ErrorType: l.ErrorType, Stack: l.Stack, Attempts: l.Attempts, First: l.First, Last: l.Last,
		Fingerprint: l.Fingerprint, Replays: l.Replays, Parked: l.Parked, State: l.State, Note: l.Note, Edited: l.Edited,
		Copy: text(l.Copy, &raw.Copy), Data: l.Payload,
	}
	headers, err := json.Marshal(content.Headers, json.Deterministic(true))
	if err != nil {
		return e, err
	}
	e.Headers = string(headers)
	if raw.Message != nil || raw.Key != nil || raw.Correlation != nil || raw.Copy != nil || raw.Headers != nil {
		e.Raw, err = json.Marshal(raw)
	}
	return e, err
}

// letter is the dead letter to bury. Its copy is the event's, or what is the
// same whenever this event is imported.
func (e LetterEvent) letter() (store.DeadLetter, error) {
	switch {
	case e.SpecVersion != "1.0":
		return store.DeadLetter{}, errors.New("it is no CloudEvents 1.0 event: specversion is not 1.0")
	case e.ID == "":
		return store.DeadLetter{}, errors.New("it has no id")
	case e.Handler == "":
		return store.DeadLetter{}, errors.New("it has no dlhandler: say which handler it is a dead letter of")
	}
	l := store.DeadLetter{
		Handler: e.Handler, Message: e.ID, Topic: e.Topic, Subscription: e.Group, Partition: e.Partition, Offset: e.Offset, Key: e.PartitionKey,
		Correlation: e.CorrelationID, Reason: e.Reason, Error: e.Error, ErrorType: e.ErrorType, Stack: e.Stack, Fingerprint: e.Fingerprint,
		Attempts: e.Attempts, First: e.First, Last: e.Last, Replays: e.Replays, Parked: e.Parked, Copy: e.Copy,
	}
	var raw rawTexts
	if len(e.Raw) > 0 {
		if err := json.Unmarshal(e.Raw, &raw); err != nil {
			return l, fmt.Errorf("read dlraw: %w", err)
		}
	}
	for text, bytes := range map[*string][]byte{&l.Message: raw.Message, &l.Key: raw.Key, &l.Correlation: raw.Correlation, &l.Copy: raw.Copy} {
		if bytes != nil {
			*text = string(bytes)
		}
	}
	if max(len(l.Message), len(l.Handler), len(l.Fingerprint), len(l.Copy)) > store.MaxID {
		return l, fmt.Errorf("id, dlhandler, dlfingerprint and dlcopy have at most %d bytes", store.MaxID)
	}
	content := Content{HeadersBase64: raw.Headers, PayloadBase64: e.Data}
	if e.Headers != "" {
		if err := json.Unmarshal([]byte(e.Headers), &content.Headers); err != nil {
			return l, fmt.Errorf("read dlheaders: %w", err)
		}
	}
	l.Content = content.Content()
	e.complete(&l)
	return l, nil
}

// complete fills in what events of others' making do not say.
func (e LetterEvent) complete(l *store.DeadLetter) {
	if !slices.Contains(pipeline.Reasons(), l.Reason) {
		l.Reason = pipeline.ReasonInternal
	}
	if l.Last.IsZero() {
		l.Last = e.Time
	}
	if l.First.IsZero() {
		l.First = l.Last
	}
	if l.Fingerprint == "" {
		l.Fingerprint = pipeline.Fingerprint(l.Reason, l.ErrorType, l.Error, "")
	}
	if l.Copy != "" {
		return
	}
	if l.Copy = replay.Death(*l); l.Headers[pipeline.MetaIDSource] != pipeline.IDSourceContent {
		return
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s %q", l.Copy, l.Payload)
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		fmt.Fprintf(sum, " %q=%q", name, l.Headers[name])
	}
	l.Copy = "import/" + hex.EncodeToString(sum.Sum(nil))
}
