package pointer

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// The functions in this file return the offset after what starts at offset
// at of doc, or -1 if it is not JSON. They take text for UTF-8.

// MaxDepth is how deep arrays and objects may nest in what is walked over.
const MaxDepth = 1000

// valueEnd ends a value, which may open depth more levels.
func valueEnd(doc []byte, at, depth int) int {
	switch peek(doc, at) {
	case '"':
		end, _ := stringEnd(doc, at)
		return end
	case '{':
		return objectEnd(doc, at, depth-1)
	case '[':
		return arrayEnd(doc, at, depth-1)
	case 't':
		return literalEnd(doc, at, "true")
	case 'f':
		return literalEnd(doc, at, "false")
	case 'n':
		return literalEnd(doc, at, "null")
	}
	return numberEnd(doc, at)
}

func objectEnd(doc []byte, at, depth int) int {
	if depth < 0 {
		return -1
	}
	if at = space(doc, at+1); peek(doc, at) == '}' {
		return at + 1
	}
	for {
		if peek(doc, at) != '"' {
			return -1
		}
		if at, _ = stringEnd(doc, at); at < 0 {
			return -1
		}
		if at = space(doc, at); peek(doc, at) != ':' {
			return -1
		}
		if at = valueEnd(doc, space(doc, at+1), depth); at < 0 {
			return -1
		}
		switch at = space(doc, at); peek(doc, at) {
		case '}':
			return at + 1
		case ',':
			at = space(doc, at+1)
		default:
			return -1
		}
	}
}

func arrayEnd(doc []byte, at, depth int) int {
	if depth < 0 {
		return -1
	}
	if at = space(doc, at+1); peek(doc, at) == ']' {
		return at + 1
	}
	for {
		if at = valueEnd(doc, at, depth); at < 0 {
			return -1
		}
		switch at = space(doc, at); peek(doc, at) {
		case ']':
			return at + 1
		case ',':
			at = space(doc, at+1)
		default:
			return -1
		}
	}
}

// stringEnd looks at eight bytes at a time for what may not simply be part of
// a string: a quote, a backslash, a control character.
func stringEnd(doc []byte, at int) (end int, escaped bool) {
	at++
	for {
		if at+8 <= len(doc) {
			word := binary.LittleEndian.Uint64(doc[at:])
			special := zeroBytes(word^(ones*'"')) | zeroBytes(word^(ones*'\\')) | controlBytes(word)
			if special == 0 {
				at += 8
				continue
			}
			at += bits.TrailingZeros64(special) / 8
		}
		switch b := peek(doc, at); {
		case b == '"':
			return at + 1, escaped
		case b == '\\':
			escaped = true
			if at = escapeEnd(doc, at); at < 0 {
				return -1, true
			}
		case b < ' ':
			return -1, escaped
		default:
			at++
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = ones << 7
)

// zeroBytes returns a word whose lowest set bit is in the lowest byte of word
// that is zero; 0 if there is none.
func zeroBytes(word uint64) uint64 { return (word - ones) &^ word & highs }

// controlBytes is zeroBytes for bytes below a space.
func controlBytes(word uint64) uint64 { return (word - ones*' ') &^ word & highs }

func escapeEnd(doc []byte, at int) int {
	switch peek(doc, at+1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 2
	case 'u':
		for i := at + 2; i < at+6; i++ {
			if strings.IndexByte("0123456789abcdefABCDEF", peek(doc, i)) < 0 {
				return -1
			}
		}
		return at + 6
	}
	return -1
}

func literalEnd(doc []byte, at int, literal string) int {
	end := at + len(literal)
	if end > len(doc) || string(doc[at:end]) != literal {
		return -1
	}
	return end
}

func numberEnd(doc []byte, at int) int {
	if peek(doc, at) == '-' {
		at++
	}
	whole := at
	if at = digitsEnd(doc, at); at < 0 || doc[whole] == '0' && at > whole+1 {
		return -1
	}
	if peek(doc, at) == '.' {
		if at = digitsEnd(doc, at+1); at < 0 {
			return -1
		}
	}
	if b := peek(doc, at); b == 'e' || b == 'E' {
		at++
		if b := peek(doc, at); b == '+' || b == '-' {
			at++
		}
		at = digitsEnd(doc, at)
	}
	return at
}

// digitsEnd ends one digit or more.
func digitsEnd(doc []byte, at int) int {
	start := at
	for at < len(doc) && '0' <= doc[at] && doc[at] <= '9' {
		at++
	}
	if at == start {
		return -1
	}
	return at
}

// space ends white space, or nothing.
func space(doc []byte, at int) int {
	for at < len(doc) && doc[at] <= ' ' && (doc[at] == ' ' || doc[at] == '\n' || doc[at] == '\t' || doc[at] == '\r') {
		at++
	}
	return at
}

// peek returns the byte at offset at, or 0, which no value holds, at the end.
func peek(doc []byte, at int) byte {
	if at < len(doc) {
		return doc[at]
	}
	return 0
}
