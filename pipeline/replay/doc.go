// Package replay is what happens to dead letters after a handler has given
// up on a message.
//
// # The archiver
//
// The archiver reads every dead-letter topic of the pipeline, and every parking
// topic, and buries what it reads in the store, where people look through it.
// It has one subscription a topic, <topic>.archiver, like a handler that
// nobody configured; instances share it.
//
// A letter is acknowledged once the store has it. On the embedded broker whose
// file is the store's too, both are one transaction. Elsewhere a crash between
// the two brings the letter again, and the store knows the copy. While the store
// is away the archiver holds what it has in hand, takes no more, says so in
// /ready and tries again; what waits is kept by its broker.
//
// No letter is refused. What another system has put there is read by that
// system's own headers (foreign.go), and what says nothing of itself is kept
// all the same, to be found as error_type UNROUTED.
//
// The archiver also lets go of letters whose time is up.
package replay
