// Package engine turns a pipeline's values into a running Watermill router.
//
// One route is made of each handler: a subscription of its topic, the chain
// of middleware (chain.go has their order and the reason of each), and the
// kind's function at its heart. Routes are consumer handlers of the router:
// publishing happens inside the chain. The router takes messages in bundles
// (broker.Subscriber.Bundles), which workers run through the chain
// (workers.go). Where its outcome is known only when its outputs are confirmed, a
// message has left its worker by then (middleware.Flights).
//
// # Start
//
// Start returns at once. Each broker is provisioned as soon as it can be
// reached, and a route starts when every broker that it reads or writes is
// ready, so that a broker that is away delays its own routes only.
//
// A route whose topic is moving away from another broker also reads what is
// left there; with an order it does so first (leftover.go).
//
// # Stop
//
// Watermill's router cancels contexts and closes subscribers under running
// handlers. Stop does it the other way round: every subscription stops its
// intake and waits for its handlers, which still have live contexts and open
// publishers; then acknowledgements are flushed; then the router ends.
package engine
