package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// asked is what a selection was made of, in one column.
type asked struct {
	Filter store.Filter `json:"filter,omitzero"`
	Named  []int64      `json:"named,omitzero"`
}

// chosen is one letter of a selection.
type chosen struct{ letter, version int64 }

// freezeChunk is how many letters one transaction notes: other writers get
// their turns between them.
const freezeChunk = 5000

// Select implements store.Selections. The letters are read by one query, which
// is one moment, and noted in chunks; it counts when all are.
func (s *Store) Select(ctx context.Context, sel store.Selection) (store.Selection, error) {
	letters, err := s.choose(ctx, &sel)
	if err == nil {
		err = s.freeze(ctx, &sel, letters)
	}
	if err != nil {
		return store.Selection{}, wrap("select dead letters", err)
	}
	return sel, nil
}

// choose reads the letters, and fills in what is to be said of them. Their
// order is that of their places where they were read, so that of a key the
// older comes first; where a broker has no offsets, that of their archiving.
func (s *Store) choose(ctx context.Context, sel *store.Selection) ([]chosen, error) {
	where, args, err := s.asked(*sel)
	if err != nil {
		return nil, err
	}
	var letters []chosen
	byHandler, byTopic := make(map[string]int64), make(map[string]int64)
	living := ""
	err = s.db.View(ctx, func(tx Tx) error {
		return tx.Query("SELECT id, version, state, handler, topic, parked FROM dead_letter WHERE "+where+" ORDER BY topic, part, place, id",
			func(scan func(...any) error) error {
				var c chosen
				var state, handler, topic string
				var parked int64
				if err := scan(&c.letter, &c.version, &state, &handler, &topic, &parked); err != nil {
					return err
				}
				if state != string(store.Dead) && living == "" {
					living = fmt.Sprintf("letter %d is %s", c.letter, state)
				}
				letters = append(letters, c)
				byHandler[handler]++
				byTopic[topic]++
				sel.Parked += parked
				return nil
			}, args...)
	})
	switch {
	case err != nil:
		return nil, err
	case living != "":
		return nil, fmt.Errorf("%w: %s: only dead ones can be replayed", store.ErrConflict, living)
	case len(letters) < len(sel.Named):
		return nil, fmt.Errorf("%w: %s", store.ErrNotFound, missing(sel.Named, letters))
	}
	sel.Count = int64(len(letters))
	sel.ByHandler, sel.ByTopic = tallies(byHandler), tallies(byTopic)
	return letters, nil
}

// asked returns the condition of a selection. Of named letters it takes also
// those that are not dead, to say so.
func (s *Store) asked(sel store.Selection) (string, []any, error) {
	switch {
	case len(sel.Named) > store.MaxNamed:
		return "", nil, fmt.Errorf("%w: at most %d letters by id: use a filter", store.ErrInvalid, store.MaxNamed)
	case len(sel.Named) > 0:
		slices.Sort(sel.Named)
		if len(slices.Compact(slices.Clone(sel.Named))) < len(sel.Named) {
			return "", nil, fmt.Errorf("%w: a letter is named twice", store.ErrInvalid)
		}
		return "id IN (" + listed(sel.Named) + ")", nil, nil
	}
	where, args, err := s.where(letterColumns, sel.Filter)
	return "state = 'DEAD' AND " + where, args, err
}

func missing(named []int64, letters []chosen) string {
	for _, id := range named {
		if !slices.ContainsFunc(letters, func(c chosen) bool { return c.letter == id }) {
			return fmt.Sprintf("there is no letter %d", id)
		}
	}
	return "a letter is gone"
}

func tallies(counts map[string]int64) []store.Tally {
	all := make([]store.Tally, 0, len(counts))
	for name, n := range counts {
		all = append(all, store.Tally{Name: name, Count: n})
	}
	slices.SortFunc(all, func(a, b store.Tally) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// freeze notes the letters.
func (s *Store) freeze(ctx context.Context, sel *store.Selection, letters []chosen) error {
	err := s.db.Update(ctx, func(tx Tx) error { return s.insertSelection(tx, sel) })
	if err != nil {
		return err
	}
	pos := int64(0)
	for chunk := range slices.Chunk(letters, freezeChunk) {
		rows := make([][]any, len(chunk))
		for i, c := range chunk {
			pos++
			rows[i] = []any{sel.ID, pos, c.letter, c.version}
		}
		err := s.db.Update(ctx, func(tx Tx) error {
			return insertRows(tx, "INSERT INTO replay_letter (selection, pos, letter, seen)", rows)
		})
		if err != nil {
			return err
		}
	}
	return s.db.Update(ctx, func(tx Tx) error {
		_, err := tx.Exec("UPDATE replay_selection SET ready = 1 WHERE id = $1", sel.ID)
		return err
	})
}

func (s *Store) insertSelection(tx Tx, sel *store.Selection) error {
	now, err := s.clock(tx)
	if err != nil {
		return err
	}
	sel.At, sel.By = fromMicros(micros(now)), show(sel.By)
	about, err := json.Marshal(asked{sel.Filter, sel.Named}, json.Deterministic(true))
	if err != nil {
		return err
	}
	byHandler, err := json.Marshal(sel.ByHandler)
	if err != nil {
		return err
	}
	byTopic, err := json.Marshal(sel.ByTopic)
	if err != nil {
		return err
	}
	_, err = one(tx, `INSERT INTO replay_selection (asked, actor, at, ready, n, parked, by_handler, by_topic)
		VALUES ($1, $2, $3, 0, $4, $5, $6, $7) RETURNING id`, []any{&sel.ID},
		string(about), sel.By, micros(now), sel.Count, sel.Parked, string(byHandler), string(byTopic))
	return err
}

// Selection implements store.Selections.
func (s *Store) Selection(ctx context.Context, id int64) (sel store.Selection, err error) {
	const what = "get selection"
	var at int64
	var about, byHandler, byTopic string
	err = s.view(ctx, what, `SELECT id, asked, actor, at, n, parked, by_handler, by_topic FROM replay_selection WHERE id = $1 AND ready = 1`,
		func(scan func(...any) error) error {
			return scan(&sel.ID, &about, &sel.By, &at, &sel.Count, &sel.Parked, &byHandler, &byTopic)
		}, id)
	if err != nil {
		return sel, err
	}
	if sel.ID == 0 {
		return sel, fmt.Errorf("%s %d: %w", what, id, store.ErrNotFound)
	}
	var a asked
	sel.At = fromMicros(at)
	for text, v := range map[string]any{about: &a, byHandler: &sel.ByHandler, byTopic: &sel.ByTopic} {
		if err := json.Unmarshal([]byte(text), v); err != nil {
			return sel, wrap(what, err)
		}
	}
	sel.Filter, sel.Named = a.Filter, a.Named
	return sel, nil
}

// SelectedLetters implements store.Selections.
func (s *Store) SelectedLetters(ctx context.Context, id int64, n int) (letters []store.DeadLetter, err error) {
	return s.lettersAt(ctx, "list selected letters", id, 0, int64(limit(n)))
}

// lettersAt returns those letters of a selection behind a place that are
// there, in the order of sending.
func (s *Store) lettersAt(ctx context.Context, what string, selection, after, upTo int64) (letters []store.DeadLetter, err error) {
	err = s.view(ctx, what, "SELECT "+letterFields+"stack, headers, payload FROM replay_letter r JOIN dead_letter ON id = letter"+
		" WHERE selection = $1 AND pos > $2 AND pos <= $3 ORDER BY pos", func(scan func(...any) error) error {
		l, err := scanLetter(scan)
		letters = append(letters, l)
		return err
	}, selection, after, upTo)
	return letters, err
}
