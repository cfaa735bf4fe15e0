// Package broker is the contract between Waybill and its brokers, and what all
// drivers share.
//
// # Contract
//
// A driver implements Broker: a Watermill publisher, a Source for each
// subscription, and Admin. brokertest.Exercise checks every promise below on
// every driver; what a driver cannot promise it says in brokertest.Features.
//
// # One subscription
//
//	         ┌──────────────────── Subscriber ────────────────────┐
//	         │ Source ──Deliver──► Claim ──► lanes ──► handOut ───┼─► Watermill's router, in bundles
//	broker ──┤   ▲                                                │
//	         │   └──── Take ◄─── tracker ◄─────────────── Settle ◄┼── whoever ran the message
//	         └────────────────────────────────────────────────────┘
//
// The Source is the driver's: it takes messages from the broker, gives them to
// a Claim, and acknowledges to the broker what the claim says is done. All
// else is shared, so that every broker behaves alike:
//
//   - Window bounds what is taken and not yet settled, by count and by bytes,
//     and has at most Concurrency messages run at a time. One goroutine hands
//     out; nobody waits for a message to be settled.
//   - Lanes keep the order of messages with the same key; different keys run
//     in parallel, whatever queue or partition they came from.
//   - A Claim is one ordered run of deliveries: a RabbitMQ channel, a Kafka
//     partition while we own it, the cursor of the embedded broker. Its
//     tracker knows up to where everything is done, and what is done above.
//   - A message that was not done is handed out again by the window after a
//     growing pause, in its lane. Nothing is ever requeued at the broker: a message
//     goes back only because its channel or claim ends.
//
// # Stop
//
// Drain closes the intake, lets what runs finish with a live context, has the
// source flush its acknowledgements, and only then ends. What was taken and
// not started goes back to the broker. Close does the same without waiting
// for what runs.
package broker
