package rabbitbroker

import (
	"encoding/json"
)

// wireName is the driver's entry in broker.MetaWire.
const wireName = "amqp"

// wire is what a message's metadata cannot say of its headers and properties:
// the value of broker.MetaWire is a JSON object with an entry for each driver
// that has something to keep, and ours is this.
type wire struct {
	// Headers has the shape of each header that is not plain text, or whose
	// name would make it a property.
	Headers map[string]any `json:"h,omitempty"`
	// Properties names the metadata that came as a property alone, so that
	// it is not sent as a header too.
	Properties []string `json:"p,omitempty"`
	// Clashes has the properties that a header of the same name, with another
	// value, kept out of the metadata.
	Clashes map[string]string `json:"c,omitempty"`

	// others are the entries of other drivers, passed on untouched.
	others map[string]json.RawMessage
}

// parseWire reads broker.MetaWire; what is not ours to read, or broken, is
// kept apart or dropped.
func parseWire(text string) wire {
	if text == "" { // as most messages have it
		return wire{}
	}
	var w wire
	if json.Unmarshal([]byte(text), &w.others) != nil {
		return wire{}
	}
	if own, ok := w.others[wireName]; ok {
		delete(w.others, wireName)
		others := w.others
		if json.Unmarshal(own, &w) != nil {
			w = wire{}
		}
		w.others = others
	}
	return w
}

// text is the value for broker.MetaWire; "": there is nothing to say.
func (w *wire) text() string {
	if len(w.Headers) == 0 && len(w.Properties) == 0 && len(w.Clashes) == 0 {
		return w.othersText()
	}
	entries := make(map[string]json.RawMessage, len(w.others)+1)
	for name, entry := range w.others {
		entries[name] = entry
	}
	own, err := json.Marshal(w)
	if err != nil {
		return w.othersText()
	}
	entries[wireName] = own
	all, _ := json.Marshal(entries) // of JSON: cannot fail
	return string(all)
}

// othersText is the value without our entry, which travels as a header.
func (w *wire) othersText() string {
	if len(w.others) == 0 {
		return ""
	}
	all, _ := json.Marshal(w.others) // of JSON: cannot fail
	return string(all)
}

// shape records a header's shape.
func (w *wire) shape(name string, shape any) {
	if w.Headers == nil {
		w.Headers = make(map[string]any)
	}
	w.Headers[safeKey(name)] = shape
}

// clash records a property that a header kept out.
func (w *wire) clash(name, value string) {
	if w.Clashes == nil {
		w.Clashes = make(map[string]string)
	}
	w.Clashes[name] = value
}
