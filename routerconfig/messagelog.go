package routerconfig

import (
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

type messageLogConfig struct {
	Mode      logMode            `yaml:"mode" type:"all, failures, sample(SHARE), off" doc:"Which messages are logged: all; those that failed at least once; these and a share of the others, for example sample(0.1); or none. The share is chosen by the message's id, so that one that is logged is logged in every handler."`
	Payload   bool               `yaml:"payload" doc:"Whether payloads are kept, or only what happened."`
	Mask      []string           `yaml:"mask,omitempty" doc:"JSON Pointers of values that are hidden before anything is stored; the rest stays byte for byte. With it a payload that is not JSON is not kept. Keys, headers and what handlers log are not masked."`
	Retention logRetentionConfig `yaml:"retention" doc:"How long it is kept."`
}

// SetDefaults sets what holds where the file is silent.
func (m *messageLogConfig) SetDefaults() {
	m.Mode.name = pipeline.LogAll
	m.Payload = true
	m.Retention.Age, m.Retention.Bytes = logAge, logBytes
	m.Retention.Failures = failuresConfig{Age: logFailuresAge, Bytes: logBytes}
}

// Defaults of message_log.retention. What failed is asked about for longer.
const (
	logAge         = age(week)
	logFailuresAge = age(30 * day)
	logBytes       = limit(10 << 30)
)

type logRetentionConfig struct {
	Age      age            `yaml:"age" type:"duration, forever" doc:"What is completed goes when it is older. 0: the default; forever: none for its age."`
	Bytes    limit          `yaml:"bytes" type:"size, unlimited" doc:"The oldest of what is completed goes when there is more than this. 0: the default; unlimited: none for lack of room."`
	Failures failuresConfig `yaml:"failures" doc:"The same of what is dead, and of what waits for a retry."`
}

type failuresConfig struct {
	Age   age   `yaml:"age" type:"duration, forever" doc:"What failed goes when it is older."`
	Bytes limit `yaml:"bytes" type:"size, unlimited" doc:"The oldest goes when there is more than this, of either."`
}

func (m *messageLogConfig) check(c *checker) {
	c.checkPointers("/message_log/mask", m.Mask)
	r := &m.Retention
	for _, given := range []struct {
		age    *age
		bytes  *limit
		ifZero age
	}{{&r.Age, &r.Bytes, logAge}, {&r.Failures.Age, &r.Failures.Bytes, logFailuresAge}} {
		if *given.age == 0 {
			*given.age = given.ifZero
		}
		if *given.bytes == 0 {
			*given.bytes = logBytes
		}
	}
}

// log is the checked block as the pipeline has it.
func (m *messageLogConfig) log() pipeline.MessageLog {
	r := m.Retention
	return pipeline.MessageLog{
		Mode: m.Mode.name, Share: m.Mode.share, Payload: m.Payload, Mask: m.Mask,
		Retention: retentionConfig{Age: r.Age, Bytes: r.Bytes}.retention(),
		Failures:  retentionConfig{Age: r.Failures.Age, Bytes: r.Failures.Bytes}.retention(),
	}
}

// logMode is a mode of the message log; sample has its share in brackets.
type logMode struct {
	name  string
	share float64
}

// UnmarshalText reads one of the words or sample(SHARE).
func (m *logMode) UnmarshalText(text []byte) error {
	*m = logMode{name: string(text)}
	switch m.name {
	case pipeline.LogAll, pipeline.LogFailures, pipeline.LogOff:
		return nil
	}
	fault := &valueError{"all, failures, sample(SHARE) or off is needed", "a share is more than 0 and at most 1: sample(0.1)"}
	digits, found := strings.CutPrefix(m.name, pipeline.LogSample+"(")
	digits, closed := strings.CutSuffix(digits, ")")
	share, err := strconv.ParseFloat(digits, 64)
	if !found || !closed || err != nil || !(share > 0 && share <= 1) {
		return fault
	}
	*m = logMode{pipeline.LogSample, share}
	return nil
}

// MarshalText writes it as UnmarshalText reads it.
func (m logMode) MarshalText() ([]byte, error) {
	if m.name != pipeline.LogSample {
		return []byte(m.name), nil
	}
	return []byte(pipeline.LogSample + "(" + strconv.FormatFloat(m.share, 'f', -1, 64) + ")"), nil
}
