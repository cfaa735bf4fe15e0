package stages

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Choices of the keys of Config.
const (
	Fail   = "fail"   // of without_lines
	Pass   = "pass"   // of without_lines
	Refuse = "refuse" // of changed
	Update = "update" // of changed
)

// Config is what stands under `with:`.
type Config struct {
	Lenient      bool          `yaml:"lenient" doc:"Mark a stage done although stages before it are not; else its event is tried again until they are."`
	Changed      string        `yaml:"changed" enum:"refuse|update" doc:"What to do with an order that is known with other jobs or stages: refuse (it becomes a dead letter), or update (the new ones count; what is done stays done)."`
	WithoutLines string        `yaml:"without_lines" enum:"fail|pass" doc:"What to do with a message that is no stage event and has no order_lines: fail (it becomes a dead letter), or pass (there is nothing to track, it is done)."`
	OrderID      []string      `yaml:"order_id" doc:"JSON Pointers of a prepared order's id; the first that is there counts."`
	Event        EventPointers `yaml:"event" doc:"Where a stage event says what."`
	Keep         time.Duration `yaml:"keep" doc:"How long an order is remembered after the last change, complete or not. Later events for it find no order. 0: for ever."`
}

// EventPointers are JSON Pointers into a stage event; of each list the first
// that is there counts.
type EventPointers struct {
	JobID   []string `yaml:"job_id" doc:"JSON Pointers of the job's id."`
	Stage   []string `yaml:"stage" doc:"JSON Pointers of the stage that is done."`
	OrderID []string `yaml:"order_id" doc:"JSON Pointers of the order's id. Without one it is what the job's id begins with, as prepare_order makes it."`
	Time    []string `yaml:"time" doc:"JSON Pointers of when that was, in RFC 3339. Without one it is when the event is handled."`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Changed:      Refuse,
		WithoutLines: Fail,
		OrderID:      []string{"/orderId", "/orderid", "/id", "/order_id"},
		Event: EventPointers{
			JobID:   []string{"/job_id", "/jobId"},
			Stage:   []string{"/stage"},
			OrderID: []string{"/order_id", "/orderId", "/orderid"}, // not /id, which is the event's own
			Time:    []string{"/time", "/timestamp"},
		},
		Keep: 90 * 24 * time.Hour,
	}
}

// Validate implements pipeline.Validator.
func (c *Config) Validate() (faults []error) {
	fault := func(at string, err error) {
		if err != nil {
			faults = append(faults, &pipeline.FieldError{Pointer: at, Err: err})
		}
	}
	fault("/changed", oneOf(c.Changed, Refuse, Update))
	fault("/without_lines", oneOf(c.WithoutLines, Fail, Pass))
	if c.Keep < 0 {
		fault("/keep", errors.New("must not be negative"))
	}
	for _, list := range []struct {
		at       string
		pointers []string
		needed   bool
	}{
		{"/order_id", c.OrderID, true},
		{"/event/job_id", c.Event.JobID, true},
		{"/event/stage", c.Event.Stage, true},
		{"/event/order_id", c.Event.OrderID, false},
		{"/event/time", c.Event.Time, false},
	} {
		if list.needed && len(list.pointers) == 0 {
			fault(list.at, errors.New("at least one JSON Pointer is needed"))
		}
		for i, p := range list.pointers {
			fault(fmt.Sprintf("%s/%d", list.at, i), checkPointer(p))
		}
	}
	return faults
}

func oneOf(got string, choices ...string) error {
	if slices.Contains(choices, got) {
		return nil
	}
	return fmt.Errorf("%q is not one of: %s", got, strings.Join(choices, ", "))
}

func checkPointer(p string) error {
	if p == "" {
		return errors.New("the path is empty")
	}
	return pointer.Check(p)
}
