package sqlitestore

import (
	"bytes"
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/waybill-dev/waybill/pipeline/pointer"
	"github.com/waybill-dev/waybill/pipeline/store/internal/sqlstore"
)

// SQLite looks into JSON by two functions of ours: they find values as the
// rest of Waybill does (package pointer), in the bytes as they are. SQLite's
// own would give numbers as it computes with them, not as they are written,
// and take "0" for an index only.
func init() {
	sqlite.MustRegisterDeterministicScalarFunction("waybill_pointer", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		return at(raw(args[0]), string(raw(args[1])))
	})
	sqlite.MustRegisterDeterministicScalarFunction("waybill_header", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		name := strings.NewReplacer("~", "~0", "/", "~1").Replace(string(raw(args[1])))
		return at(raw(args[0]), "/"+name)
	})
	sqlite.MustRegisterDeterministicScalarFunction("waybill_contains", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		return bytes.Contains(lower(raw(args[0])), lower(raw(args[1]))), nil
	})
}

// at returns the text of the scalar at path, or NULL.
func at(doc []byte, path string) (driver.Value, error) {
	value, ok, err := pointer.Lookup(doc, path)
	if err != nil || !ok {
		return nil, nil //nolint:nilerr // what is no JSON has no values
	}
	text, ok := pointer.Text(value)
	if !ok {
		return nil, nil
	}
	return text, nil
}

func raw(v driver.Value) []byte {
	switch v := v.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}

// lower makes ASCII letters small, and leaves all other bytes.
func lower(b []byte) []byte {
	low := bytes.Clone(b)
	for i, c := range low {
		if 'A' <= c && c <= 'Z' {
			low[i] = c + 'a' - 'A'
		}
	}
	return low
}

// dialect is SQLite's.
type dialect struct{}

var _ sqlstore.Dialect = dialect{}

func (dialect) Contains(text, part string) string {
	return fmt.Sprintf("instr(%s, %s) > 0", text, part)
}

func (dialect) ContainsFold(form, payload, text, part string) string {
	return fmt.Sprintf("(CASE WHEN %s = 0 THEN instr(%s, CAST(%s AS BLOB)) > 0 ELSE waybill_contains(%s, %s) END OR coalesce(waybill_contains(%s, %s), 0))",
		form, payload, part, payload, part, text, part)
}

func (dialect) Header(headers, name string) string {
	return fmt.Sprintf("waybill_header(%s, %s)", headers, name)
}

func (dialect) Pointer(form, payload, path, _ string) string {
	return fmt.Sprintf("CASE WHEN %s = 2 THEN waybill_pointer(%s, '%s') END", form, payload, strings.ReplaceAll(path, "'", "''"))
}

func (dialect) SkipLocked() string { return "" } // there is one writer

func (dialect) LockKey(sqlstore.Tx, string) error { return nil } // likewise

func (dialect) Now(sqlstore.Tx) (time.Time, error) { return time.Now(), nil }
