package job

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// Seq reads the number of an order, prepared or not.
func Seq(payload []byte) (int, error) {
	n, err := number(payload, `"seq":`)
	return int(n), err
}

// Due reads when an order ought to have been published.
func Due(payload []byte) (time.Time, error) {
	n, err := number(payload, `"due":`)
	return time.Unix(0, n), err
}

// number reads a member that stands near the beginning of an order. It does
// not parse: the load generator shares its cores with what it measures.
func number(payload []byte, name string) (int64, error) {
	_, after, ok := bytes.Cut(payload, []byte(name))
	end := bytes.IndexAny(after, ",}")
	if !ok || end < 0 {
		return 0, fmt.Errorf("%.60q is no order of this benchmark", payload)
	}
	return strconv.ParseInt(string(after[:end]), 10, 64)
}
