package store

import (
	"fmt"
	"slices"
	"strings"
)

// State is where a message stands in one handler.
type State string

// The states (design §7). Queued, Failed and Requeued are names of views, and
// what only waits in a broker is counted by the broker.
const (
	InProgress State = "IN_PROGRESS"
	Completed  State = "COMPLETED"
	Retrying   State = "RETRYING"
	Dead       State = "DEAD"
	Replaying  State = "REPLAYING"
	Archived   State = "ARCHIVED"
)

// states has what each means, in the order of a message's life.
var states = []struct {
	state   State
	meaning string
}{
	{InProgress, "A handler has it. Lives in memory and is shown live."},
	{Retrying, "It failed and waits, delayed, for its next attempt."},
	{Completed, "Its outcome is durable. Nothing more happens to it."},
	{Dead, "It failed for good and waits for a person."},
	{Replaying, "A person has sent it back to its handler, and its end is not known yet."},
	{Archived, "A person has put it aside; it goes when its time is up."},
}

// moves is the one table of legal moves.
var moves = []struct {
	from, to State
	why      string
}{
	{InProgress, Completed, "its outputs are durable"},
	{InProgress, Retrying, "it failed, and another attempt is left"},
	{InProgress, Dead, "it failed for good"},
	{Retrying, InProgress, "its time has come"},
	{Dead, Replaying, "replayed by a person"},
	{Dead, Archived, "put aside by a person"},
	{Dead, Completed, "it succeeded after all: a repeat, or another copy"},
	{Replaying, Completed, "the replay succeeded"},
	{Replaying, Dead, "the replay failed, or was given up"},
	{Archived, Dead, "restored by a person"},
}

// States lists the states in the order of a message's life.
func States() []State {
	all := make([]State, len(states))
	for i, s := range states {
		all[i] = s.state
	}
	return all
}

// CanMove reports whether a message may go from one state to the other.
func CanMove(from, to State) bool { return slices.Contains(From(to), from) }

// From lists the states from which a message may go to this one.
func From(to State) []State {
	var from []State
	for _, m := range moves {
		if m.to == to {
			from = append(from, m.from)
		}
	}
	return from
}

// StatesPage is docs/states.md.
func StatesPage() string {
	var b strings.Builder
	b.WriteString("<!-- Made from pipeline/store/states.go by `make generate`. -->\n\n# States of a message\n\n" +
		"A message has one state in each handler.\n\n| State | Means |\n|---|---|\n")
	for _, s := range states {
		fmt.Fprintf(&b, "| `%s` | %s |\n", s.state, s.meaning)
	}
	b.WriteString("\n## Moves\n\nWhat is not in this table is refused: `409` in the API, exit code 5 of a command.\n\n| From | To | When |\n|---|---|---|\n")
	for _, m := range moves {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", m.from, m.to, m.why)
	}
	b.WriteString("\nA message that its broker hands out again begins anew, in `IN_PROGRESS`, whatever it was before. So its row may become `DEAD`\n" +
		"from any state, by another death: that is what happened, and not a move that somebody asked for.\n")
	return b.String()
}
