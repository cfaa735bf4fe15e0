// Package httpcall is the kind call_http: it tells another system about an
// order, for example the warehouse, by one HTTP request.
//
// It starts simulated: it logs that a call would be made, and makes none. With
// `mode: http` it calls:
//
//	warehouse:
//	  kind: call_http
//	  from: warehouse-calls
//	  with:
//	    mode: http
//	    url: https://warehouse.example.com/orders
//	    header_files: {Authorization: secrets/warehouse}
//	    status: {"404": retry}
//
// # The request
//
// The body is the message's payload, byte for byte. Idempotency-Key is
// "<message id>:<handler>", the same however often the message is tried or
// replayed, so that the other side can recognise a repeat. A message that came
// without an id (idsource=content) has none, since two equal orders would
// share it. Content-Type, traceparent and tracestate come from the message's
// metadata.
//
// # The answer
//
// The status decides: 2xx and 409 (the other side has it already) are fine;
// 408, 425, 429 and 5xx are tried again, not before what Retry-After says;
// everything else is a dead letter for reason rejected. Redirects are not
// followed. `status` in the config overrules this, status by status.
//
// If the handler has a `to:`, the answer's body goes there as a message.
package httpcall
