package job

import (
	"bytes"
	"fmt"
	"time"
)

// Verdict is what is wrong with an output. The zero value but for Outputs is
// a job well done.
type Verdict struct {
	Outputs   int // how many there are
	Missing   int // orders without an output
	Repeated  int // outputs of an order that had one
	Different int // outputs that prepare would not make of their order, or of none
	Disorders int // outputs that came after a later one of their key
	First     string
}

// Err is nil if all orders came out once, as prepare makes them and, where
// ordered, in the order of their keys.
func (v Verdict) Err(ordered bool) error {
	if v.Missing == 0 && v.Repeated == 0 && v.Different == 0 && (v.Disorders == 0 || !ordered) {
		return nil
	}
	return fmt.Errorf("the output is not what the job makes: %d missing, %d repeated, %d different, %d out of order; the first: %s",
		v.Missing, v.Repeated, v.Different, v.Disorders, v.First)
}

// Check reads an output. Outputs are given to See in the order of their
// partition or queue.
type Check struct {
	orders  Orders
	prepare PrepareFunc
	seen    []bool
	last    map[string]int // by key
	verdict Verdict
}

// NewCheck checks the output of the orders 0 to n-1.
func NewCheck(orders Orders, n int, prepare PrepareFunc) *Check {
	return &Check{orders: orders, prepare: prepare, seen: make([]bool, n), last: make(map[string]int)}
}

// See takes the next output.
func (c *Check) See(payload []byte) {
	c.verdict.Outputs++
	seq, err := Seq(payload)
	if err != nil || seq < 0 || seq >= len(c.seen) {
		c.note(&c.verdict.Different, fmt.Sprintf("%.60q is not of this run", payload))
		return
	}
	want, err := c.prepare(c.orders.Order(seq, time.Time{}))
	if err != nil || !bytes.Equal(want, payload) {
		c.note(&c.verdict.Different, fmt.Sprintf("order %d", seq))
	}
	if c.seen[seq] {
		c.note(&c.verdict.Repeated, fmt.Sprintf("order %d came again", seq))
		return // what is repeated is repeated out of order
	}
	c.seen[seq] = true
	key := c.orders.Key(seq)
	if last, ok := c.last[key]; ok && last > seq {
		c.note(&c.verdict.Disorders, fmt.Sprintf("order %d of key %s after %d", seq, key, last))
		return
	}
	c.last[key] = seq
}

// Verdict is what there is to say once all was seen.
func (c *Check) Verdict() Verdict {
	v := c.verdict
	for seq, seen := range c.seen {
		if !seen {
			v.Missing++
			if v.First == "" {
				v.First = fmt.Sprintf("order %d is missing", seq)
			}
		}
	}
	return v
}

func (c *Check) note(count *int, what string) {
	*count++
	if c.verdict.First == "" {
		c.verdict.First = what
	}
}
