package process

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/pipeline"
)

// rule is one thing that can be wrong with an order. Its check returns a text
// for each place where it is.
type rule struct {
	name     string
	severity Severity
	check    func(*order.Order) []string
}

func (v Validation) rules() []rule {
	return []rule{
		{"ids", v.IDs, checkIDs},
		{"items", v.Items, checkItems},
		{"quantity", v.Quantity, checkQuantity},
		{"price", v.Price, checkPrice},
		{"total", v.Total, checkTotal},
		{"timestamp", v.Timestamp, checkTimestamp},
	}
}

// check logs what is to be warned of and returns a permanent error that names
// all that is to fail.
func (v Validation) check(ctx context.Context, o *order.Order, log *slog.Logger) error {
	var failures []string
	for _, r := range v.rules() {
		if r.severity == Off {
			continue
		}
		faults := r.check(o)
		switch {
		case len(faults) == 0:
		case r.severity == Warn:
			log.WarnContext(ctx, order.Printable(fmt.Sprintf("%v: %s", o, summary(faults))), "rule", r.name)
		default:
			failures = append(failures, summary(faults))
		}
	}
	if failures == nil {
		return nil
	}
	return pipeline.Invalid("%s", order.Printable(fmt.Sprintf("%v: %s", o, strings.Join(failures, "; "))))
}

// maxFaults bounds how many places of one rule a text names.
const maxFaults = 3

func summary(faults []string) string {
	if more := len(faults) - maxFaults; more > 0 {
		return fmt.Sprintf("%s; and %d more", strings.Join(faults[:maxFaults], "; "), more)
	}
	return strings.Join(faults, "; ")
}

func checkIDs(o *order.Order) (faults []string) {
	for _, name := range o.Blank {
		faults = append(faults, name+" is blank")
	}
	if o.ID == "" {
		faults = append(faults, "the order has no id")
	}
	if o.User == "" && o.Shape != order.ShapeLines {
		faults = append(faults, "the order has no user")
	}
	return faults
}

func checkItems(o *order.Order) []string {
	if len(o.Items) == 0 {
		return []string{"the order has no items"}
	}
	return nil
}

func checkQuantity(o *order.Order) (faults []string) {
	lines := o.Shape == order.ShapeLines
	for i, item := range o.Items {
		q := item.Quantity
		switch {
		case lines && !q.Given():
		case q.Sign() > 0 && (q.Integer() || lines):
		default:
			faults = append(faults, fault(i, "quantity", q, "not a whole number of 1 or more"))
		}
	}
	return faults
}

func checkPrice(o *order.Order) (faults []string) {
	for i, item := range o.Items {
		switch {
		case o.Shape == order.ShapeLines && !item.Price.Given():
		case item.Price.Missing() || item.Price.Sign() < 0:
			faults = append(faults, fault(i, "price", item.Price, "not a number of 0 or more"))
		}
	}
	return faults
}

func checkTotal(o *order.Order) []string {
	sum := o.Sum()
	switch {
	case o.Total.Missing() && o.Total.Given():
		return []string{fmt.Sprintf("total is %s, not a number", brief(o.Total))}
	case o.Total.Missing() && o.Shape != order.ShapeLines:
		return []string{"total is missing"}
	case o.Total.Missing() || sum.Missing() || sum.Equal(o.Total):
		return nil
	}
	return []string{fmt.Sprintf("total is %s, but the items sum up to %s", o.Total, sum)}
}

func checkTimestamp(o *order.Order) []string {
	if o.Timestamp == "" {
		return nil
	}
	if _, err := time.Parse(time.RFC3339, o.Timestamp); err != nil {
		return []string{fmt.Sprintf("timestamp %.40q is not RFC 3339", o.Timestamp)}
	}
	return nil
}

// fault says what is wrong with a number of the item at this index. People
// count items from 1.
func fault(index int, member string, n order.Number, wrong string) string {
	if !n.Given() {
		return fmt.Sprintf("%s of item %d is missing", member, index+1)
	}
	return fmt.Sprintf("%s of item %d is %s, %s", member, index+1, brief(n), wrong)
}

func brief(n order.Number) string { return fmt.Sprintf("%.40s", n) }
