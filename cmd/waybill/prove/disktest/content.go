//go:build linux

package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// content is the bytes of a file: as they are seen, and as they are after a
// cut.
type content struct {
	now, safe []byte
	dirty     map[int]bool // sectors of now that safe may not have
}

func (c *content) read(offset int64, n int) []byte {
	if offset >= int64(len(c.now)) {
		return nil
	}
	end := min(offset+int64(n), int64(len(c.now)))
	return slices.Clone(c.now[offset:end])
}

func (c *content) write(offset int64, data []byte) {
	end := int(offset) + len(data)
	if end > len(c.now) {
		c.resize(end)
	}
	copy(c.now[offset:], data)
	c.touch(int(offset), end)
}

// resize cuts the file short, or adds zeros.
func (c *content) resize(size int) {
	before := len(c.now)
	if size <= before {
		c.now = c.now[:size:size] // what grows again is zeros
		return
	}
	c.now = append(c.now, make([]byte, size-before)...)
	c.touch(before, size)
}

func (c *content) touch(from, to int) {
	if c.dirty == nil {
		c.dirty = make(map[int]bool)
	}
	for s := from / sector; s*sector < to; s++ {
		c.dirty[s] = true
	}
}

// sync makes durable what is seen.
func (c *content) sync() {
	for s := range c.dirty {
		c.keep(s)
	}
	c.safe = c.safe[:len(c.now)]
	c.dirty = nil
}

// keep makes one sector durable, and with it the file as long as it reaches.
func (c *content) keep(s int) {
	from, to := s*sector, min((s+1)*sector, len(c.now))
	if from >= to {
		return // cut off since
	}
	if to > len(c.safe) {
		c.safe = append(c.safe, make([]byte, to-len(c.safe))...)
	}
	copy(c.safe[from:to], c.now[from:to])
}

// forget goes back to what is durable. With chance, about half of the sectors
// that were not are kept all the same.
func (c *content) forget(chance *rand.Rand) {
	if chance != nil {
		for _, s := range slices.Sorted(maps.Keys(c.dirty)) {
			if chance.IntN(2) == 0 {
				c.keep(s)
			}
		}
		if len(c.now) < len(c.safe) && chance.IntN(2) == 0 {
			c.safe = c.safe[:len(c.now)]
		}
	}
	c.now, c.dirty = slices.Clone(c.safe), nil
}
