// Package replay sends dead letters back: a selection of them, at a rate or in
// growing batches, to the handler that failed each, and says what became of
// each.
//
// # How a letter is sent
//
// A letter goes by one transaction of the store, several hundred letters in
// each: the replay notes its turn (AdvanceReplay), the letter becomes Replaying
// (MoveLetter), its message is put before its handler (Requeue), and what an
// expression made of it is kept (ReviseLetter). So a SIGKILL finds a letter
// sent and noted, or neither. The engine takes the message from the store and
// runs it as any that was delayed; success makes the letter Completed, another
// death adds to its deaths, and that is what the replay looks at.
//
// Letters of a key are sent in the order in which their messages were read, and
// stay in it. On an ordered handler later messages of the key wait for them,
// unless the replay is told to let them pass.
//
// Only what goes to another topic (a redirect, or a letter whose handler is not
// in the pipeline) is published: first, with confirms, then the letter is
// closed. A crash in between publishes it again, under the same id.
//
// # Who does it
//
// Each instance has a Runner. A replay is leased by one of them at a time, by a
// token that every change of it asks for; who dies lets its lease run out, and
// another goes on within 10 s. At most window letters are under way, whatever
// the rate, so that a pause, a cancel or the bound of failures comes in time.
package replay
