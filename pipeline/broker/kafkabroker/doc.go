// Package kafkabroker is the Kafka driver: broker.Broker on IBM/sarama. It
// speaks to Kafka 2.4 and later, 4.x included.
//
// # A message's way in
//
//	              fetching                                  control
//	Kafka ──────► sarama ─► readAhead ─► broker.Claim ─► … ack ─► ledger ──────► Kafka
//	      joining   │       (partition)   (in-flight, lanes)     (position)
//	      ◄─────────┘ member
//
// A subscription is a consumer group of its name, and a source is one member
// of it. What sarama claims for the member is a partition, three goroutines:
// the readAhead takes records as they come, the partition decodes them and
// delivers them to the window, and the ledger commits what the claim says is
// done. Nothing of it waits for a handler but the window itself.
//
// What is committed is a position: Kafka's offset, below which everything is
// done, and in the commit's metadata what is done above it, so that neither a
// message that takes its time nor a crash has the others repeated. A position
// spans at most maxSpan offsets, which always fits into the 4,096 bytes that
// Kafka allows; further messages of the partition wait. A position also says
// whether it was left in good order. Where it was not, the messages of the
// first window carry Origin.Redelivered.
//
// # A message's way out
//
//	Publish ─► producer ─► stream ─► outlet (a partition's batches) ─► pipe ─► sarama ─► Kafka
//	        ◄──────────────────────────── teller (of a record's result) ◄────┘
//
// Publish encodes all its messages, hands them to the stream, and waits for
// each one's own result or deadline. Start hands one over that nobody waits for.
// The stream is an idempotent producer under
// one identity of the cluster, with acks from all in-sync replicas; when it
// can't go on, the next takes its place. A partition has one batch on its way at
// a time and a broker one request, so that a stream keeps the order of a
// partition whatever comes back (decision 0021).
//
// The wire format is that of watermill-kafka's DefaultMarshaler: the id in the
// header _watermill_message_uuid, metadata as headers. The record key is
// broker.Key, and keys go to the partitions to which Java producers send
// them. Records of others keep their headers' order, repeats and bytes when
// they are published again: see wire.
//
// # Membership
//
// With an instance name, membership is static: a process that was killed and
// starts again within the session has its partitions at once, and nobody else
// notices. A member that ends in good order leaves, though, which sarama does
// not do for static members: others take over at once, and the same process,
// coming back, joins at once too. Rebalancing is cooperative: partitions that
// stay where they are go on without a pause. A handler gets revokeGrace to
// finish when its partition moves.
//
// # Traps that were found, and where they are avoided
//
//   - sarama answers one request of a connection at a time: a join, which
//     waits for all other members, held up the fetches and commits behind it.
//     Fetches, joins and commits have clients of their own (source.newGroup,
//     Broker.control).
//   - sarama fetches for all partitions of a broker at once, and waits until
//     the last has room for its records (readAhead).
//   - MarkOffset and Commit give no answer, and MarkOffset drops new metadata
//     at an unchanged offset (committer).
//   - Setup is not called for partitions that come with a later cooperative
//     rebalance, so positions are read as each claim begins (partition.begin).
//   - An offset out of range is either the end of every claim (without
//     ResetInvalidOffsets) or a silent jump (with it). With it, begin sees
//     the jump and tells its size. sarama also takes any answer to ListOffsets
//     with that code for one, so the jump is checked (partition.reset).
//   - A ConsumeClaim that returns ends the whole session. It returns only
//     when it must, and never with an error (session.ConsumeClaim).
//   - sarama's calls know no context and wait out their timeouts on a broker
//     that has stopped answering. A link cuts the connections under them.
//   - sarama's callback for a produce request runs where it reads answers, and
//     must not call the broker (request.send).
//   - RefreshMetadata fails where any partition of a topic has no leader, and
//     hangs for minutes where nobody answers (stream.look, stream.limit).
//   - Kafka takes a record for one that it has by its numbers alone, whatever
//     is in it. Those of a batch that it may have are never used again (outlet).
//   - sarama sleeps for a tenth of a second when all partitions of a broker are
//     paused, so one that is only busy is not (readAhead.waitOrPause).
//   - A batch over a topic's max.message.bytes is refused whole (batch.again).
//   - A deleted topic takes its committed offsets with it, which is how a
//     position that could not be committed is known to be stale (unsaved).
//   - sarama's log is a global, and silent unless set. What matters of it
//     comes as errors, and is logged through slog, once a minute (told).
//
// # What Kafka cannot do
//
// Acknowledgements are not transactional with outputs: a crash between the
// two repeats the message. Kafka counts no deliveries in flight, so Inspect
// counts them as ready. A group whose members are all away for longer than
// the broker's offsets.retention.minutes (a week by default) is forgotten, and
// begins again as its start says. A single node, or min.insync.replicas=1,
// may lose confirmed messages when its machine loses power.
package kafkabroker
