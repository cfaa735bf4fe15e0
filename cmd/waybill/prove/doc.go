// Package prove holds the proof of the first promise, on the real binary and
// real brokers: nothing accepted is lost, order per key is kept, and a stop is
// not a failure. Its tests kill the process, stop it, and kill the brokers,
// under load; then a checker that does not use the product reads all output
// and compares it with what was offered.
//
// `go test` runs it small; `make prove` (WAYBILL_PROVE=full) runs it whole
// and writes its ledger, one JSON object a run: what was offered, what came
// out, what is dead, repeats, order violations, kills, recovery times. The
// folder's README says how to see that each check can fail.
package prove
