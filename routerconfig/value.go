package routerconfig

import (
	"errors"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// size is a number of bytes: 10GiB, 64MiB, 500KB, 1024.
type size int64

var (
	sizeText  = regexp.MustCompile(`^([0-9]+) ?([KMGT]i?B|B|)$`)
	sizeUnits = map[string]int64{
		"": 1, "B": 1,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
)

// UnmarshalText reads a number with a unit or without.
func (s *size) UnmarshalText(text []byte) error {
	parts := sizeText.FindStringSubmatch(string(text))
	fault := &valueError{"a size is needed", "write for example 64MiB, 10GiB, or a number of bytes"}
	if parts == nil {
		return fault
	}
	count, err := strconv.ParseInt(parts[1], 10, 64)
	unit := sizeUnits[parts[2]]
	if err != nil || count > math.MaxInt64/unit {
		return fault
	}
	*s = size(count * unit)
	return nil
}

// MarshalText writes the largest binary unit that fits without a rest.
func (s size) MarshalText() ([]byte, error) {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if u := sizeUnits[unit]; s != 0 && int64(s)%u == 0 {
			return []byte(strconv.FormatInt(int64(s)/u, 10) + unit), nil
		}
	}
	return []byte(strconv.FormatInt(int64(s), 10) + "B"), nil
}

// age is a duration or "forever", which is -1.
type age time.Duration

const forever = "forever"

// UnmarshalText reads a duration or "forever".
func (a *age) UnmarshalText(text []byte) error {
	if string(text) == forever {
		*a = -1
		return nil
	}
	d, err := parseDuration(string(text))
	*a = age(d)
	return err
}

// MarshalText writes it as UnmarshalText reads it.
func (a age) MarshalText() ([]byte, error) {
	if a < 0 {
		return []byte(forever), nil
	}
	return []byte(formatDuration(time.Duration(a))), nil
}

// limit is a size or "unlimited", which is -1.
type limit size

const unlimited = "unlimited"

// UnmarshalText reads a size or "unlimited".
func (l *limit) UnmarshalText(text []byte) error {
	if string(text) == unlimited {
		*l = -1
		return nil
	}
	return (*size)(l).UnmarshalText(text)
}

// MarshalText writes it as UnmarshalText reads it.
func (l limit) MarshalText() ([]byte, error) {
	if l < 0 {
		return []byte(unlimited), nil
	}
	return size(l).MarshalText()
}

// start is oldest, newest or a time.
type start pipeline.Start

// UnmarshalText reads one of the two words or an RFC 3339 time.
func (s *start) UnmarshalText(text []byte) error {
	switch string(text) {
	case "oldest":
		*s = start{}
		return nil
	case "newest":
		*s = start{Newest: true}
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return &valueError{"oldest, newest or a time is needed", "a time is written 2026-01-31T08:00:00Z"}
	}
	*s = start{Time: at.UTC()}
	return nil
}

// MarshalText writes it as UnmarshalText reads it.
func (s start) MarshalText() ([]byte, error) {
	switch {
	case s.Newest:
		return []byte("newest"), nil
	case s.Time.IsZero():
		return []byte("oldest"), nil
	}
	return s.Time.AppendFormat(nil, time.RFC3339Nano), nil
}

// keys is a list of texts, or one text.
type keys []string

// UnmarshalYAML reads either form.
func (k *keys) UnmarshalYAML(unmarshal func(any) error) error {
	var one string
	if unmarshal(&one) == nil {
		*k = keys{one}
		return nil
	}
	return unmarshal((*[]string)(k))
}

// outputs is a map of output names to topics, or one topic, whose name is "".
type outputs map[string]string

// UnmarshalYAML reads either form.
func (o *outputs) UnmarshalYAML(unmarshal func(any) error) error {
	var one string
	if unmarshal(&one) == nil {
		*o = outputs{"": one}
		return nil
	}
	return unmarshal((*map[string]string)(o))
}

// MarshalYAML writes it as UnmarshalYAML reads it.
func (o outputs) MarshalYAML() (any, error) {
	if one, ok := o[""]; ok && len(o) == 1 {
		return one, nil
	}
	return map[string]string(o), nil
}

// kindConfig is what stands under `with:`. What it means is known only with
// the handler's kind, so it keeps the means to decode it.
type kindConfig struct {
	decode func(any) error
	value  any // what the kind's NewConfig returned, decoded
}

// UnmarshalYAML keeps unmarshal for later.
func (k *kindConfig) UnmarshalYAML(unmarshal func(any) error) error {
	k.decode = unmarshal
	return nil
}

// MarshalYAML writes the kind's config.
func (k kindConfig) MarshalYAML() (any, error) { return k.value, nil }

// into decodes what stands under `with:`, if anything does, on top of the
// kind's defaults.
func (k *kindConfig) into(value any) error {
	k.value = value
	if k.decode == nil {
		return nil
	}
	return k.decode(value)
}

// serverURL is the address of a server. Only what is secret in it is hidden.
type serverURL pipeline.Secret

const maskedSecret = "<secret>"

var secretWord = regexp.MustCompile(`(?i)pass|secret|token`)

// parse is url.Parse with an error that does not show the URL.
func (u serverURL) parse() (*url.URL, error) {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return nil, errors.New("this is not a valid URL")
	}
	return parsed, nil
}

// String hides the password and what looks like one.
func (u serverURL) String() string {
	parsed, err := u.parse()
	if err != nil {
		if strings.ContainsAny(string(u), "@?") {
			return maskedSecret
		}
		return string(u)
	}
	const stand = "hidden-secret"
	if _, has := parsed.User.Password(); has {
		parsed.User = url.UserPassword(parsed.User.Username(), stand)
	}
	query := parsed.Query()
	for name := range query {
		if secretWord.MatchString(name) {
			query.Set(name, stand)
			parsed.RawQuery = query.Encode()
		}
	}
	if !strings.Contains(parsed.String(), stand) {
		return string(u)
	}
	return strings.ReplaceAll(parsed.String(), stand, maskedSecret)
}

// MarshalText is String.
func (u serverURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
