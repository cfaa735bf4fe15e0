package process

import (
	"fmt"

	"github.com/waybill-dev/waybill/handlers/order"
)

// received is an order as lines for the log.
func received(o *order.Order, currency string) []string {
	lines := []string{
		"📦 NEW ORDER RECEIVED",
		"Order ID: " + o.ID,
		"User: " + o.User,
		"Total: " + total(o, currency),
		fmt.Sprintf("Items: %d", len(o.Items)),
	}
	for _, item := range o.Items {
		lines = append(lines, position(item, currency))
	}
	for i, line := range lines {
		lines[i] = order.Printable(line)
	}
	return lines
}

// total is the order's own, else what its items sum up to.
func total(o *order.Order, currency string) string {
	switch {
	case !o.Total.Missing():
		return currency + o.Total.Money()
	case !o.Sum().Missing():
		return currency + o.Sum().Money()
	}
	return "not given"
}

func position(item order.Item, currency string) string {
	line := "  - " + item.Label()
	if item.Quantity.Given() {
		line += " x " + item.Quantity.String()
	}
	if amount := item.Amount(); !amount.Missing() {
		line += " = " + currency + amount.Money()
	}
	return line
}
