// Package peer has the implementations that Waybill is measured against, each
// at its best that keeps the promise: an order is acknowledged only after its
// output is confirmed.
//
//   - raw: the bare client, pipelined, in the order of the queue or partition.
//     It is what a careful person writes in an afternoon for this one job: no
//     dead letters, no retries, no reconnecting, no metrics.
//   - stock: Watermill's router with the published adapter.
//   - stock-tuned: the same, with the settings that made it fastest.
//
// Each runs in a process of its own until its context ends.
package peer
