// Package order reads orders. It gives one view of the three shapes in which
// orders come, for logging, validation and mail templates:
//
//   - the shop's own:   {"orderId", "userId", "sessionId", "paymentId", "items": [{"sku", "name", "price", "quantity"}], "total", "timestamp"}
//   - with a cart:      {"orderid", "user", "cart": {"total", "items": [{"sku", "name", "qty", "price", "subtotal"}]}}
//   - for fulfilment:   {"id", "order_lines": [{"sku", "quantity", …}]}, before or after its lines were split into jobs
//
// The view is for reading only. Nothing in it can be written back: what a
// handler passes on is the message's own bytes, with the members that the
// view knows nothing of.
//
// Amounts are exact decimals, taken from the text of the JSON number. No
// number is ever a float.
//
// The reader is tolerant: members that it does not know are ignored, and one
// that has an unexpected type counts as missing, so that the rules of a
// handler, and not the reader, say what is wrong with an order. Only what is
// no JSON object at all is an error.
package order
