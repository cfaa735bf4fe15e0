// Package journal remembers what ran when the process died, so that a message
// that kills it stops coming back (design §4, Attempt journal).
//
// Each run of a kind has a slot in a memory-mapped file while it lasts. To
// fill and to free one costs nanoseconds and asks nobody; what is in the
// memory when the process is killed is in the file. At the next start the
// slots that were left full become rows of the store (store.Suspects), before
// anything is handled. A message that the broker hands out again becomes a row
// before it runs, where the slots cannot tell: another process may have had
// it, or the file is gone.
//
// A suspect runs alone: Gate lets nothing else run meanwhile. So a crash while
// it runs is its own, and who only was there at the time is cleared. After
// MaxCrashes, the first of which it may share with others, it is quarantined:
// dead, with pipeline.ReasonCrash.
//
// No crash are: a stop in order, which frees the slots, also of what it cut
// short; a message that came again because a connection was lost while this
// process lived on; one that was in hand and did not run.
package journal
