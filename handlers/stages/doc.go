// Package stages is the kind track_stages: it marks the completion stages of
// an order's jobs done, as events say, and announces once that the order is
// complete.
//
// One topic brings it both what prepare_order made,
//
//	{"orderId":"A1","order_lines":[{"job_id":"A1-1-1","completion_stages":["pick","pack"],…}]}
//
// and the events of those who do the work:
//
//	{"order_id":"A1","job_id":"A1-1-1","stage":"pick","time":"2026-03-01T12:00:00Z"}
//
// An event without the order's id belongs to the order that its job's id is
// made of, as prepare_order makes it: order, line, job. A config:
//
//	feed:                      # prepared orders, unchanged, to where the events go
//	  kind: filter
//	  from: prepared-orders
//	  to: fulfilment
//	  with: {when: 'true'}
//	track:
//	  kind: track_stages
//	  from: fulfilment         # key: [/order_id, /orderId, /orderid, /id]
//	  to: {completed: completed-orders, errors: stage-errors}
//	  ordering: key
//	  overtake: true
//	  retry: {delayed: {initial: 5s, max: 10m, attempts: 8}}
//
// # What becomes of a message
//
// A prepared order registers its jobs and their stages. The same again changes
// nothing. Other jobs or stages for the same order are a conflict, and the
// message is a dead letter, unless `changed: update` says that the new ones
// count: stages that are done stay done, and what is gone from the order is
// not waited for any more. That is not the default, since job ids come from
// the places of lines: with a line removed from the middle, the marks of one
// job would be those of another. After an order was announced nothing changes
// it.
//
// An event marks its stage done. The same again changes nothing, also when it
// comes late. A stage or job that the order does not have is told on the
// output errors, or makes the event a dead letter where there is no such
// output.
//
// An event may come before what it needs: its order, or, unless `lenient` is
// set, the stages before its own. It is tried again as the handler's `retry`
// says (reason unavailable), so give it delayed retries that last for as long
// as the other may take; after the last it is a dead letter, to be replayed.
// With `ordering: key` set `overtake` too: else the order would queue up behind
// the event that waits for it. Leave `breaker` off: such failures say nothing
// of anybody's health.
//
// # Once
//
// The stage that makes the last job complete gives one message on the output
// completed: a CloudEvent order.completed with the order's id, the time of its
// latest stage, and its jobs. What is known of an order is one document of
// pipeline.State. It is saved with the outcome, so what is repeated after a
// crash either finds it, and announces nothing, or announces again under the
// same message id.
//
// Two events that say the same can be handled side by side, unless `ordering:
// key` keeps them apart. Only one of them saves. On the embedded broker the
// other's announcement is gone with its transaction; on RabbitMQ and Kafka it
// may have been published by then, under another message id. The CloudEvent's
// id is made of the order's and is the same in both.
//
// The order itself is read and never written.
package stages
