// Package pipeline says what a Waybill pipeline is: plain values, errors that
// carry their decision, message metadata and ids, handler kinds. It imports
// nothing else of Waybill's, and every other package may import it.
//
// # A route's life
//
// A topic is a named, durable log of messages on one broker. A handler reads
// one topic, runs a kind on each message, and publishes what the kind returns
// to other topics. What a handler has read of a topic is its subscription,
// named <topic>.<handler> on every broker.
//
//	           ┌────────────── handler "prepare" ──────────────┐
//	orders-in ─┤ settle ← publish ← retry ← timeout ← the kind ├─► prepared-orders
//	           └──────┬─────────────────────────────────────────┘
//	                  └─► orders-in.prepare.dlq   (the original bytes, and why)
//
// # Delivery
//
// A message is acknowledged only after its outcome is durable: its outputs
// were confirmed by their broker, or the message itself was confirmed in its
// dead-letter topic. A crash between the two repeats the message, with the
// same ids: OutputID derives an output's id from the input's, so that a
// repeat is recognisable downstream.
//
// # Errors decide
//
// A kind returns an ordinary error and the handler's retry policy applies;
// Permanent says that no retry can help, RetryAfter says when to try again,
// WithReason says which of the closed set of reasons it was.
package pipeline
