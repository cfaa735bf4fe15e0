package routerconfig

import (
	"reflect"
	"strconv"
	"strings"
	"time"
)

// scalarValue is what a scalar says for a target that is no text: its YAML
// value, also where a variable stood in quotes.
func scalarValue(n *node) any {
	if n.fromEnv && !n.plain {
		bare := *n
		bare.plain = true
		return bare.resolve()
	}
	return n.resolve()
}

func (d *decoder) string(n *node, p pointer, v reflect.Value) {
	if n.form != scalar {
		d.wantForm(n, p, "text")
		return
	}
	if _, isText := n.resolve().(string); !isText && !n.fromEnv {
		d.want(n, p, "text is needed", "put it in quotes")
		return
	}
	v.SetString(n.text)
}

// secret is string that never tells what was written.
func (d *decoder) secret(n *node, p pointer, v reflect.Value) {
	_, isText := n.resolve().(string)
	switch {
	case n.form != scalar:
		d.wantForm(n, p, "text")
	case !isText && !n.fromEnv:
		d.report.errorAt(n.at, p, "put it in quotes", "text is needed, not %s", n.sort())
	case strings.Contains(n.text, maskedSecret):
		d.report.errorAt(n.at, p, "give the secret itself, or its file with "+p.path()+secretFileSuffix,
			"this is a secret that echo has hidden")
	default:
		v.SetString(n.text)
	}
}

func (d *decoder) bool(n *node, p pointer, v reflect.Value) {
	value, ok := scalarValue(n).(bool)
	if n.form != scalar || !ok {
		d.want(n, p, "true or false is needed", "")
		return
	}
	v.SetBool(value)
}

func (d *decoder) duration(n *node, p pointer, v reflect.Value) {
	value, err := parseDuration(n.text)
	if n.form != scalar || err != nil {
		d.want(n, p, "a duration is needed", durationFix)
		return
	}
	v.SetInt(int64(value))
}

// number sets v, an integer or a float of any size.
func (d *decoder) number(n *node, p pointer, v reflect.Value) {
	if n.form != scalar {
		d.wantForm(n, p, "a number")
		return
	}
	value := reflect.ValueOf(scalarValue(n)) // the zero Value for nothing: no number either
	switch {
	case v.CanFloat() && (value.CanInt() || value.CanUint() || value.CanFloat()):
		v.SetFloat(value.Convert(reflect.TypeFor[float64]()).Float())
	case v.CanFloat():
		d.want(n, p, "a number is needed", "")
	case v.CanInt() && value.CanInt() && !v.OverflowInt(value.Int()):
		v.SetInt(value.Int())
	case v.CanUint() && value.CanInt() && value.Int() >= 0 && !v.OverflowUint(uint64(value.Int())):
		v.SetUint(uint64(value.Int()))
	case v.CanUint() && value.CanUint() && !v.OverflowUint(value.Uint()):
		v.SetUint(value.Uint())
	case value.CanInt() || value.CanUint():
		d.want(n, p, "a smaller whole number is needed", "")
	default:
		d.want(n, p, "a whole number is needed", "")
	}
}

// plainValue is n as map[string]any, []any and scalars, for config whose form
// is free.
func plainValue(n *node) any {
	switch n.form {
	case mapping:
		out := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			out[e.key] = plainValue(e.value)
		}
		return out
	case list:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = plainValue(item)
		}
		return out
	}
	return n.resolve()
}

// valueError is what a type of ours says of text that it cannot read.
type valueError struct{ want, fix string }

func (e *valueError) Error() string { return e.want }

const (
	durationFix = "write for example 500ms, 30s, 1h30m or 7d"
	day         = 24 * time.Hour
	week        = 7 * day
	longest     = 36500 * day // a century is enough, and does not overflow
)

// parseDuration reads Go's notation with w and d before it: 1w2d12h. A
// duration is never negative, and has a unit unless it is 0.
func parseDuration(text string) (time.Duration, error) {
	fault := &valueError{"a duration is needed", durationFix}
	total, rest := time.Duration(0), text
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"w", week}, {"d", day}} {
		digits, after, found := strings.Cut(rest, unit.name)
		count, err := strconv.ParseUint(digits, 10, 32)
		if !found || err != nil {
			continue
		}
		if count > uint64(longest/unit.size) {
			return 0, fault
		}
		total, rest = total+time.Duration(count)*unit.size, after
	}
	if rest == "" && text != "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > longest {
		return 0, fault
	}
	return total + d, nil
}

// formatDuration is the shortest text that parseDuration reads as d.
func formatDuration(d time.Duration) string {
	if d > 0 && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
