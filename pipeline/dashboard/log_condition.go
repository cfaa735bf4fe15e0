package dashboard

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// LogCondition says which entries of the message log are meant, as the query
// of a URL. All that is given must be true.
type LogCondition struct {
	ID          string   `query:"id" doc:"the message's id"`
	Handler     string   `query:"handler"`
	Topic       string   `query:"topic"`
	Key         string   `query:"key"`
	Correlation string   `query:"correlation"`
	Reason      string   `query:"reason"`
	State       []string `query:"state" doc:"states, or views of them: queued, failed, completed, requeued; one of them must be true"`
	Header      []string `query:"header,explode" doc:"NAME=VALUE"`
	Pointer     []string `query:"pointer,explode" doc:"POINTER=VALUE: the scalar at the JSON Pointer is this text"`
	Text        string   `query:"text" doc:"is somewhere in payload, errors or lines; ASCII letters in any case"`
	Since       string   `query:"since" doc:"RFC 3339: changed then or later"`
	Until       string   `query:"until" doc:"RFC 3339: changed before"`
	JSON        string   `query:"filter" doc:"a condition with and, or, not as JSON, for example {\"not\":{\"field\":\"key\",\"value\":\"7\"}}"`
}

// views are names for what people look for, beside the states themselves.
var views = map[string][]store.State{
	"queued":    {store.InProgress, store.Retrying},
	"failed":    {store.Dead},
	"completed": {store.Completed},
	"requeued":  {store.Replaying},
}

// Filter returns the condition. An error says what of it makes no sense, and
// wraps store.ErrInvalid.
func (c LogCondition) Filter() (store.Filter, error) {
	all := store.Filter{}
	add := func(f store.Filter) { all.And = append(all.And, f) }
	for field, value := range map[store.Field]string{
		store.FieldMessage: c.ID, store.FieldHandler: c.Handler, store.FieldTopic: c.Topic, store.FieldKey: c.Key,
		store.FieldCorrelation: c.Correlation, store.FieldReason: c.Reason, store.FieldText: c.Text,
	} {
		if value != "" {
			add(store.Is(field, value))
		}
	}
	if len(c.State) > 0 {
		states, err := statesOf(c.State)
		if err != nil {
			return all, err
		}
		add(store.Or(states...))
	}
	for field, values := range map[store.Field][]string{store.FieldHeader: c.Header, store.FieldPointer: c.Pointer} {
		for _, pair := range values {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return all, fmt.Errorf("%s %q: %w: write NAME=VALUE", field, pair, store.ErrInvalid)
			}
			add(store.Filter{Field: field, Name: name, Value: value})
		}
	}
	if c.Since != "" {
		add(store.Filter{Field: store.FieldTime, Op: store.Since, Value: c.Since})
	}
	if c.Until != "" {
		add(store.Filter{Field: store.FieldTime, Op: store.Before, Value: c.Until})
	}
	if c.JSON != "" {
		var f store.Filter
		if err := json.Unmarshal([]byte(c.JSON), &f, json.RejectUnknownMembers(true)); err != nil {
			return all, fmt.Errorf("filter: %w: %w", store.ErrInvalid, err)
		}
		add(f)
	}
	return all, all.Check()
}

func statesOf(names []string) ([]store.Filter, error) {
	var filters []store.Filter
	for _, name := range names {
		states := views[strings.ToLower(name)]
		if one := store.State(strings.ToUpper(name)); slices.Contains(store.States(), one) {
			states = []store.State{one}
		}
		if states == nil {
			return nil, fmt.Errorf("state %q: %w: want one of %v, or queued, failed, completed, requeued", name, store.ErrInvalid, store.States())
		}
		for _, s := range states {
			filters = append(filters, store.Is(store.FieldState, string(s)))
		}
	}
	return filters, nil
}
