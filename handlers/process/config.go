package process

import (
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// Severity says what happens when an order breaks a rule.
type Severity string

// The severities.
const (
	Fail Severity = "fail" // the order is dead at once, for reason invalid
	Warn Severity = "warn" // one warning is logged, and the order is processed
	Off  Severity = "off"  // the rule is not looked at
)

// Config is what stands under `with:`.
type Config struct {
	Currency      string        `yaml:"currency" doc:"Put before every amount in the log; empty for none."`
	SimulateDelay time.Duration `yaml:"simulate_delay" doc:"How long processing an order pretends to take, for example 1s."`
	Validation    Validation    `yaml:"validate" doc:"What to do with an order that breaks a rule: fail (it becomes a dead letter), warn (it is logged), off."`
}

// Validation sets the severity of each rule.
type Validation struct {
	IDs       Severity `yaml:"ids" doc:"The order has an id, and orders with items a user; no id that it has is blank." enum:"fail|warn|off"`
	Items     Severity `yaml:"items" doc:"There is at least one item." enum:"fail|warn|off"`
	Quantity  Severity `yaml:"quantity" doc:"Every quantity is a whole number of 1 or more. In order_lines it may be missing or a fraction above 0." enum:"fail|warn|off"`
	Price     Severity `yaml:"price" doc:"Every price is a number of 0 or more. In order_lines it may be missing." enum:"fail|warn|off"`
	Total     Severity `yaml:"total" doc:"The total is exactly the sum of price × quantity. In order_lines it may be missing." enum:"fail|warn|off"`
	Timestamp Severity `yaml:"timestamp" doc:"The timestamp, if there is one, is RFC 3339." enum:"fail|warn|off"`
}

// NewConfig returns the defaults.
func NewConfig() *Config {
	return &Config{
		Currency: "₹",
		Validation: Validation{
			IDs: Fail, Items: Fail, Quantity: Fail, Price: Fail, Total: Warn, Timestamp: Fail,
		},
	}
}

// Validate implements pipeline.Validator.
func (c *Config) Validate() []error {
	var faults []error
	if c.SimulateDelay < 0 {
		faults = append(faults, &pipeline.FieldError{Pointer: "/simulate_delay", Err: errors.New("must not be negative")})
	}
	for _, r := range c.Validation.rules() {
		if r.severity != Fail && r.severity != Warn && r.severity != Off {
			faults = append(faults, &pipeline.FieldError{
				Pointer: "/validate/" + r.name,
				Err:     fmt.Errorf("%q is not one of fail, warn, off", string(r.severity)),
			})
		}
	}
	return faults
}
