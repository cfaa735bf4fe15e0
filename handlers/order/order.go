package order

import (
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline"
)

// Shape says which members an order's items were found in.
type Shape string

// The shapes. An order that fits several is read as the first of them.
const (
	ShapeItems Shape = "items"       // top-level items
	ShapeCart  Shape = "cart"        // items and total in a cart
	ShapeLines Shape = "order_lines" // lines, or jobs, for fulfilment
	ShapeNone  Shape = ""            // no items at all
)

// Order is what Waybill reads of an order. A text is "" and a number is
// missing where the order has none.
type Order struct {
	Shape     Shape
	ID        string // orderId, orderid, order_id or id
	User      string // userId, user or user_id
	Session   string // sessionId
	Payment   string // paymentId
	Timestamp string // as it was written
	Total     Number // what the customer pays, in the order's currency
	Items     []Item

	// Blank names the id members that are there but hold no text, for
	// example "paymentId".
	Blank []string
}

// Item is one position of an order.
type Item struct {
	SKU      string
	Name     string
	Quantity Number // quantity or qty
	Price    Number // of one
	Subtotal Number // subtotal or amount, as the producer says; unchecked
}

// object is a JSON object whose members are still text.
type object map[string]jsontext.Value

// Parse reads an order. It returns a permanent error with
// pipeline.ReasonInvalid if the payload is not exactly one JSON object: not
// UTF-8, not JSON, trailing text, a member twice.
func Parse(payload []byte) (*Order, error) {
	top, err := decode(payload)
	if err != nil {
		return nil, err
	}
	o := &Order{Timestamp: top.text("timestamp"), Total: top.number("total")}
	o.ID = o.id(top, "orderId", "orderid", "order_id", "id")
	o.User = o.id(top, "userId", "user", "user_id")
	o.Session = o.id(top, "sessionId")
	o.Payment = o.id(top, "paymentId")
	o.readItems(top)
	return o, nil
}

func decode(payload []byte) (object, error) {
	if !utf8.Valid(payload) {
		return nil, pipeline.Invalid("order is not UTF-8")
	}
	var top object
	// The bytes are UTF-8; what the option still lets pass is an escape of
	// half a surrogate pair, which is legal JSON.
	if err := json.Unmarshal(payload, &top, jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, pipeline.Invalid("order is not a JSON object: %w", err)
	}
	if top == nil {
		return nil, pipeline.Invalid("order is not a JSON object: it is null")
	}
	return top, nil
}

// readItems finds the items, and with a cart the total too.
func (o *Order) readItems(top object) {
	cart := top.object("cart")
	for _, place := range []struct {
		shape Shape
		lines []jsontext.Value
	}{
		{ShapeItems, top.array("items")},
		{ShapeCart, cart.array("items")},
		{ShapeLines, top.array("order_lines")},
	} {
		if place.lines != nil {
			o.Shape, o.Items = place.shape, items(place.lines)
			break
		}
	}
	if !o.Total.Given() {
		o.Total = cart.number("total")
	}
}

func items(lines []jsontext.Value) []Item {
	list := make([]Item, len(lines))
	for i, line := range lines {
		members := asObject(line)
		list[i] = Item{
			SKU:      members.text("sku"),
			Name:     members.text("name"),
			Quantity: members.number("quantity", "qty"),
			Price:    members.number("price"),
			Subtotal: members.number("subtotal", "amount"),
		}
	}
	return list
}

// Amount is what the item costs: price times quantity, else the subtotal that
// the producer gave, else missing.
func (i Item) Amount() Number {
	if product := i.Price.Times(i.Quantity); !product.Missing() {
		return product
	}
	return i.Subtotal
}

// Label is the item's name, else its SKU, else "item".
func (i Item) Label() string {
	switch {
	case i.Name != "":
		return i.Name
	case i.SKU != "":
		return i.SKU
	}
	return "item"
}

// Sum adds up price times quantity of all items. It is missing if one of the
// items has no price or no quantity, or if there are no items.
func (o *Order) Sum() Number {
	if len(o.Items) == 0 {
		return Number{}
	}
	sum := o.Items[0].Price.Times(o.Items[0].Quantity)
	for _, item := range o.Items[1:] {
		sum = sum.Plus(item.Price.Times(item.Quantity))
	}
	return sum
}

// String names the order in an error or a log line.
func (o *Order) String() string { return fmt.Sprintf("order %q", o.ID) }
