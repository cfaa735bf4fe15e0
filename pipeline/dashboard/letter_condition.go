package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// LetterCondition says which dead letters are meant, as the query of a URL. All
// that is given must be true.
type LetterCondition struct {
	Message string   `query:"id" doc:"the message's id"`
	Handler string   `query:"handler"`
	Topic   string   `query:"topic" doc:"where it was read"`
	Key     string   `query:"key"`
	Reason  string   `query:"reason"`
	State   string   `query:"state" enum:"DEAD,REPLAYING,ARCHIVED,COMPLETED"`
	Group   string   `query:"group" doc:"the fingerprint of its group"`
	Parked  string   `query:"parked" enum:"true,false" doc:"it was replayed too often"`
	Header  []string `query:"header,explode" doc:"NAME=VALUE"`
	Pointer []string `query:"pointer,explode" doc:"POINTER=VALUE: the scalar at the JSON Pointer is this text"`
	Text    string   `query:"text" doc:"is somewhere in payload or error; ASCII letters in any case"`
	Since   string   `query:"since" doc:"RFC 3339: it failed then or later"`
	JSON    string   `query:"filter" doc:"a condition with and, or, not as JSON, for example {\"not\":{\"field\":\"key\",\"value\":\"7\"}}"`
}

// Filter returns the condition. An error wraps store.ErrInvalid.
func (c LetterCondition) Filter() (store.Filter, error) {
	all := store.Filter{}
	if err := c.known(); err != nil {
		return all, err
	}
	for field, value := range map[store.Field]string{
		store.FieldMessage: c.Message, store.FieldHandler: c.Handler, store.FieldTopic: c.Topic, store.FieldKey: c.Key,
		store.FieldReason: c.Reason, store.FieldState: c.State, store.FieldFingerprint: c.Group, store.FieldParked: c.Parked, store.FieldText: c.Text,
	} {
		if value != "" {
			all.And = append(all.And, store.Is(field, value))
		}
	}
	for field, pairs := range map[store.Field][]string{store.FieldHeader: c.Header, store.FieldPointer: c.Pointer} {
		for _, pair := range pairs {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return all, fmt.Errorf("%s %q: %w: write NAME=VALUE", field, pair, store.ErrInvalid)
			}
			all.And = append(all.And, store.Filter{Field: field, Name: name, Value: value})
		}
	}
	if c.Since != "" {
		all.And = append(all.And, store.Filter{Field: store.FieldTime, Op: store.Since, Value: c.Since})
	}
	if c.JSON != "" {
		var f store.Filter
		if err := json.Unmarshal([]byte(c.JSON), &f, json.RejectUnknownMembers(true)); err != nil {
			return all, fmt.Errorf("filter: %w: %w", store.ErrInvalid, err)
		}
		all.And = append(all.And, f)
	}
	return all, all.Check()
}

// known refuses what no letter has: to find nothing would hide the mistake.
func (c LetterCondition) known() error {
	for _, one := range []struct {
		name, value string
		of          []string
	}{
		{"state", c.State, texts(store.Dead, store.Replaying, store.Archived, store.Completed)},
		{"reason", c.Reason, texts(pipeline.Reasons()...)},
		{"parked", c.Parked, []string{"true", "false"}},
	} {
		if one.value != "" && !slices.Contains(one.of, one.value) {
			return fmt.Errorf("%s %q: %w: want %s", one.name, one.value, store.ErrInvalid, strings.Join(one.of, ", "))
		}
	}
	return nil
}

func texts[T ~string](values ...T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}
