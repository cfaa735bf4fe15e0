package sqlstore

import (
	"strconv"
	"strings"
)

// insertSizes are how many rows one statement inserts: few sizes, as SQLite
// keeps each statement prepared, and none large, as its driver looks for each
// parameter among all of them: with 500 rows that took ten times as long.
var insertSizes = []int{40, 1}

// insertRows inserts rows of equal width by few statements. insert is the
// statement up to VALUES.
func insertRows(tx Tx, insert string, rows [][]any) error {
	for _, size := range insertSizes {
		for len(rows) >= size {
			args := make([]any, 0, size*len(rows[0]))
			for _, row := range rows[:size] {
				args = append(args, row...)
			}
			if _, err := tx.Exec(insert+placeholders(size, len(rows[0])), args...); err != nil {
				return err
			}
			rows = rows[size:]
		}
	}
	return nil
}

// placeholders is ($1, $2), ($3, $4), … for so many rows.
func placeholders(rows, width int) string {
	var b strings.Builder
	for i := range rows * width {
		switch {
		case i == 0:
			b.WriteString(" VALUES (")
		case i%width == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	return b.String() + ")"
}
