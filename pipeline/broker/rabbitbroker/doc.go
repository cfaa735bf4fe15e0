// Package rabbitbroker is the RabbitMQ driver, on amqp091-go.
//
// # Where things are
//
// A topic is a durable exchange of its name, of type topic unless set. A
// subscription is a durable quorum queue of its name, bound to it with "#".
// What the topic says of exchange, queue, type, key and arguments goes before
// that; with `exchange: ""` producers write straight to `queue:`, and that is
// what is read. A topic that nobody reads has a queue of its own name.
//
//	             ┌ # ─► queue orders-in.prepare
//	exchange ────┤
//	orders-in    └ # ─► exchange orders-in.track ─┬─ hash ─► queue orders-in.track.0
//	                    (partitions: 2)           └───────► queue orders-in.track.1
//
// Queues that are read in order (`ordering: key` or `partition`) have a single
// active consumer: RabbitMQ hands their messages to one process at a time.
// With `partitions: N` and `ordering: key` a subscription has N such queues
// behind a consistent-hash exchange, so that N processes can share it. It
// hashes the header partitionkey. Waybill sets it; foreign producers must, to
// spread their messages: those without it are all in one queue, in order.
// RabbitMQ before 4 numbers the queues of such an exchange anew whenever it
// starts, in the order in which several processes of its own happen to finish:
// in one of ten starts some keys move to another queue. What then still waits
// in the old queue can be handled after what comes later. Without partitions,
// the default, a key's order survives restarts.
//
// A message's routing key is its metadata routingkey, else the topic's
// routing_key, else the topic's name (the queue's, on the default exchange).
//
// Only what is published once a subscription's queue exists is in it: `start:`
// makes no difference here.
//
// # A message's way in
//
// The consuming link has one connection; each queue that is read has a channel
// on it, which is a broker.Claim with delivery tags as positions. What is
// delivered the consumer's inbox takes out of what amqp091-go reads (frameConn),
// and decode makes a message of it: there is none that it refuses. The acker
// acknowledges the finished prefix with one frame, and what is finished above
// it one by one once the head turns out to be slow, or others could not run for
// it. Nothing is ever returned
// by nack or reject: messages go back only because their channel closes.
//
// # A message's way out
//
// The publishing link has a connection of its own, made with the first
// Publish. All callers share one channel in confirm mode. Each encodes its
// message (codec.go, frames.go), and the confirmer adds the frames to the memory
// of bufferedConn, which one goroutine sends, many messages in one system call.
// The confirmer hears the confirms (frameConn), and tells whoever sent, who may
// wait for that (Publish) or not (Start). A message of Publish whose channel was
// lost is sent again with the same id until its context ends. Decision 0023 says
// what is amqp091-go's there and what is not.
//
// # Traps
//
// All were measured on RabbitMQ 3.10 or read in amqp091-go v1.16.0, and each
// has a test:
//
//   - Acknowledgements have no answer, and a channel forgets those that it has
//     not passed on to a quorum queue: see consumer.barrier.
//   - Acknowledging a tag that is not outstanding closes the channel, also
//     with multiple: see acker.flush.
//   - Unroutable messages are confirmed. A message comes back by basic.return
//     before that, but through another Go channel: see confirmer.readReturns.
//   - Publishing to an exchange that is not there closes the channel for all:
//     see exchanges. So do a body over RabbitMQ's limit, and a CC header that
//     is no array. Metadata over the frame size, or a header name over 255
//     bytes, close the whole connection. All are found before they are sent.
//   - What comes on a channel after the answer to a channel.close closes the
//     whole connection: see confirmer.end.
//   - RabbitMQ sends no heartbeats while it sends messages or confirms, and
//     amqp091-go gives up a connection on which it reads nothing: see
//     frameConn.Read.
//   - A broker that is blocked or frozen stops reading, and a write to the
//     socket then waits for ever: see bufferedConn.
//   - When a queue is deleted, amqp091-go closes the channel of deliveries and
//     nothing else; reading it without ok gives an empty message.
//   - Cancelling the consumer of a queue with a single active consumer lets
//     the next one begin while our messages still run: it stays until they
//     have ended.
//   - RabbitMQ 3.10 writes the name of a new quorum queue to disk half a
//     second late. A queue declared right before a SIGKILL has no leader ever
//     after, and consuming it is not answered: health says so after 5 s.
//   - Quorum queues count a peek as a consumer, until a moment after its
//     channel was closed: see Broker.idle.
package rabbitbroker
