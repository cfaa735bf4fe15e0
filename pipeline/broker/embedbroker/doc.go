// Package embedbroker is the broker in the binary: a durable log in one SQLite
// file, for one process.
//
// # Layout
//
// All topics share one table, whose key is the topic's number and the
// message's place in it in one integer, so that each topic is a run of pages
// that grows at its end. A subscription is a row in cursor: everything up to
// upto is done, and beyond it the positions in above.
//
// # A message's way
//
// Publish joins a group commit of the file's one writer (package sqlitefile)
// and returns when that is on the disk. The commit wakes the sources that wait
// for the topic, and hands them what it added (fresh.go). A source reads on from where it is, hands messages to its
// claim, and writes what the claim says is done to its cursor.
//
// Commit puts a message's outputs and its acknowledgement into one
// transaction, so that a handler that stays on this broker repeats nothing
// after a crash.
//
// # One reader a subscription
//
// Only one process has the file, so a subscription has one active source. A
// second one in the same process stands by and takes over when the first
// ends; messages come in order then as before.
//
// # Retention
//
// A message goes when it is older than its topic's retention, or its topic is
// larger than that, and every subscription of this pipeline on the topic has
// it behind it. Dead-letter topics keep everything unless told otherwise.
package embedbroker
