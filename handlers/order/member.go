package order

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// id reads an id under the first of the names that the order has, and notes
// it as blank if there is no text in it.
func (o *Order) id(top object, names ...string) string {
	for _, name := range names {
		value, found := top[name]
		if !found {
			continue
		}
		text := asText(value)
		if text == "" {
			o.Blank = append(o.Blank, name)
		}
		return text
	}
	return ""
}

// first returns the first of the named members that is there and not null.
func (m object) first(names ...string) jsontext.Value {
	for _, name := range names {
		if value := m[name]; value != nil && value.Kind() != 'n' {
			return value
		}
	}
	return nil
}

func (m object) text(names ...string) string   { return asText(m.first(names...)) }
func (m object) number(names ...string) Number { return newNumber(m.first(names...)) }
func (m object) object(name string) object     { return asObject(m.first(name)) }

// array returns the elements of the member, or nil if it is no array.
func (m object) array(name string) []jsontext.Value {
	value := m.first(name)
	if value.Kind() != '[' {
		return nil
	}
	list := []jsontext.Value{}
	if json.Unmarshal(value, &list, jsontext.AllowInvalidUTF8(true)) != nil {
		return nil
	}
	return list
}

// asText reads a string, or the text of a number, which some producers use
// for ids.
func asText(value jsontext.Value) string {
	switch value.Kind() {
	case '0':
		return value.String()
	case '"':
		text, err := jsontext.AppendUnquote(nil, value)
		if err != nil && text == nil {
			return ""
		}
		return string(text)
	}
	return ""
}

// asObject returns the members of value, or nil if it is no object.
func asObject(value jsontext.Value) object {
	if value.Kind() != '{' {
		return nil
	}
	var members object
	if json.Unmarshal(value, &members, jsontext.AllowInvalidUTF8(true)) != nil {
		return nil
	}
	return members
}
