package routerconfig

import (
	"fmt"
	"regexp"
	"strings"
)

// reference is the inside of a ${...}: a name and perhaps a default.
var reference = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(:.*)?$`)

// expand replaces the variables in a scalar's text: ${NAME} and
// ${NAME:default}, where the default ends at the first }. $$ stands for $; any
// other $ for itself. used says whether there was a variable. The error names
// what cannot be expanded, never a value.
func expand(text string, env func(string) (string, bool)) (out string, used bool, err error) {
	var b strings.Builder
	for {
		start := strings.IndexByte(text, '$')
		if start < 0 || start == len(text)-1 {
			b.WriteString(text)
			return b.String(), used, err
		}
		b.WriteString(text[:start])
		switch text[start+1] {
		case '$':
			b.WriteByte('$')
			text = text[start+2:]
		case '{':
			value, rest, fault := variable(text[start+2:], env)
			if fault != nil && err == nil {
				err = fault
			}
			b.WriteString(value)
			text, used = rest, true
		default:
			b.WriteByte('$')
			text = text[start+1:]
		}
	}
}

// variable reads text, which follows a "${", up to the "}".
func variable(text string, env func(string) (string, bool)) (value, rest string, err error) {
	inside, rest, closed := strings.Cut(text, "}")
	parts := reference.FindStringSubmatch(inside)
	switch {
	case !closed || parts == nil:
		return "", rest, errReference
	case strings.Contains(parts[2], "${"):
		return "", rest, errNested
	}
	if value, ok := env(parts[1]); ok {
		return value, rest, nil
	}
	if parts[2] == "" {
		return "", rest, unsetError(parts[1])
	}
	return parts[2][1:], rest, nil
}

// expandError is why a scalar cannot be expanded, and what to do.
type expandError struct{ what, fix string }

func (e *expandError) Error() string { return e.what }

var (
	errReference = &expandError{"${ without a variable's name and }", "write ${NAME} or ${NAME:default}; $${ stands for ${ itself"}
	errNested    = &expandError{"a variable in the default of another", "a default is plain text up to the first }"}
)

func unsetError(name string) error {
	return &expandError{
		fmt.Sprintf("the environment variable %s is not set", name),
		fmt.Sprintf("set it, or give a default: ${%s:...}", name),
	}
}

// escape is the inverse of expand for text without variables.
func escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteByte(text[i])
		if text[i] == '$' && i+1 < len(text) && (text[i+1] == '$' || text[i+1] == '{') {
			b.WriteByte('$')
		}
	}
	return b.String()
}
