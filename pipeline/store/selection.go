package store

import (
	"context"
	"time"
)

// Selection is a set of dead letters as they were at one moment: what died, or
// changed, since is not replayed by it.
type Selection struct {
	ID     int64
	Filter Filter  // what was asked for
	Named  []int64 // or the letters that were asked for by id
	By     string
	At     time.Time

	Count     int64
	Parked    int64   // of them; a replay leaves these out unless they were named
	ByHandler []Tally // the largest first
	ByTopic   []Tally // by where the messages were read
}

// Tally is how many of a selection share a name.
type Tally struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// MaxNamed is how many letters a selection may name by id.
const MaxNamed = 10_000

// Selections keeps sets of dead letters for replays.
type Selections interface {
	// Select freezes the letters that are Dead and match s.Filter, or those of
	// s.Named: all at one moment, however many they are. Of s it reads Filter,
	// Named and By. ErrNotFound, ErrConflict: a named letter is not there, or not
	// Dead.
	Select(ctx context.Context, s Selection) (Selection, error)

	// Selection returns one.
	Selection(ctx context.Context, id int64) (Selection, error)

	// SelectedLetters returns the first letters of a selection, as they are now,
	// in the order in which a replay sends them; at most limit, and MaxPage.
	SelectedLetters(ctx context.Context, id int64, limit int) ([]DeadLetter, error)
}
