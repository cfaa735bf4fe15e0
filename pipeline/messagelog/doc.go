// Package messagelog is the message log at work: what a handler did with each
// message, gathered while it does it.
//
// A Log makes a Handling of every message that a handler begins. As long as
// the message is handled that is its row, IN_PROGRESS: it lives in memory, is
// listed by Running, and what happens to it is told to those who Watch. Capture
// puts the lines that are logged with the message's context into it; they are
// found by the context alone, so that no line is ever another message's. When
// the outcome is certain the Handling becomes a store.LogEntry, which Keep
// writes.
//
// What succeeds never waits for that. While the store is slow or away it is
// counted as unlogged and gone. What fails waits until it is written.
package messagelog
