// Package store is the contract of Waybill's store: what it remembers of
// messages beside what is in the broker.
//
//   - Dead letters (DeadLetters): what failed for good, with its bytes and its
//     story, to be looked through, grouped, repaired and replayed.
//   - Receipts: which effect was done for which message, so that a repeat does
//     not do it again.
//   - Delayed messages (Delayed): what waits for its next attempt, and what
//     waits behind it because it has the same key.
//   - Suspects (Suspects): what a process may have died of.
//   - Documents: what handlers themselves remember from one message to the
//     next.
//   - The message log (Log): what happened to each message in each handler.
//   - The audit log (Audit): what people did, and why.
//   - Selections and replays (Selections, Replays): which letters are sent back,
//     how, and what became of each.
//
// Drivers are sqlitestore, for one process, and pgstore, for several. Package
// storetest is the suite that both pass.
//
// # States
//
// A message has one state in each handler; states.go has the one table of
// them and of the legal moves, docs/states.md is made of it. A move that is
// not in the table is ErrConflict.
//
// # Writes that join
//
// What belongs to the outcome of a message must happen together with its
// acknowledgement, or before it, never after. So every method for it does
// nothing but prepare a pipeline.Write, and whoever records the
// outcome chooses the transaction:
//
//	writes := []pipeline.Write{
//		s.FinishReceipt(key, done), // what was done
//		s.EndDelayed(lease),        // the message is no longer delayed
//	}
//	if committer.Home() == s.Home() {
//		err = committer.Commit(ctx, in, out, writes...) // outputs, acknowledgement and writes at once
//	} else {
//		err = s.Do(ctx, writes...) // first the store, then the broker
//	}
//
// Home says which file's transactions a Write can run in: with SQLite the
// embedded broker's own file by default, so that an outcome costs one fsync,
// shared with those of other messages. "" (PostgreSQL) equals nobody's home:
// the store commits first, and a crash before the acknowledgement repeats the
// message, which the store then recognises: every Write but SaveDocument can be
// repeated and finds its own traces.
//
// If one Write of a transaction fails, none has happened. So a lease that was
// lost (ErrStaleToken) takes the outputs of its late outcome with it.
//
// # The clock
//
// When a message is due is a wall time, as it must survive restarts. It is
// compared with the store's clock: PostgreSQL's own, which is one for all
// instances, so that a lease ends for all of them at the same moment; with
// SQLite this process's, the only one there is. A clock set forward makes
// messages due early and ends leases early, one set back late, by as much as it
// was set. Nothing is lost by that, and no outcome counts twice: what proves a
// lease is its token, not the time.
//
// # Bytes
//
// Payloads are kept as they came, headers too, though they need be no text.
// Whether a payload is JSON that every driver can look into is known when it
// is stored, so that one that is not breaks no query: it has no values.
package store
