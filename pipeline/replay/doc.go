// Package replay is what happens to dead letters after a handler has given
// up on a message: the archiver takes them into the store, the runner sends
// them back.
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
//
// # The runner
//
// A replay is a run over a frozen selection of letters, at a rate or in growing
// batches. A letter goes by one transaction of the store, several hundred
// letters in each: the replay notes its turn (AdvanceReplay), the letter becomes
// Replaying (MoveLetter), its message is put before the handler that failed
// (Requeue), and what an expression made of it is kept (ReviseLetter). So a
// SIGKILL finds a letter sent and noted, or neither. The engine takes the
// message from the store and runs it as any that was delayed; success makes the
// letter Completed, another death adds to its deaths, and that is what the
// replay looks at.
//
// Letters of a key are sent in the order in which their messages were read, and
// stay in it. On an ordered handler later messages of the key wait for them,
// unless the replay is told to let them pass.
//
// Only what goes to another topic (a redirect, or a letter whose handler is not
// in the pipeline) is published: first, with confirms, then the letter is
// closed. A crash in between publishes it again, under the same id, and nothing
// else does.
//
// Each instance has a runner. A replay is leased by one of them at a time, by a
// token that every change of it asks for; who dies lets its lease run out, and
// another goes on within 10 s. At most window letters are under way, whatever
// the rate, so that a pause, a cancel or the bound of failures comes in time.
package replay
