package store

import (
	"crypto/sha256"
	"encoding/hex"
)

// MaxID is how many bytes an id or a key may have where a store looks things up
// by it: indexes have a limit, and what somebody else wrote may be of any
// length.
const MaxID = 512

// ShortID returns an id that a store can look up: one longer than MaxID by its
// hash. Stores do this themselves.
func ShortID(id string) string {
	if len(id) <= MaxID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}
