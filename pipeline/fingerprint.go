package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// Ids, numbers, quoted text and hex differ between messages that failed for
// the same cause.
var varying = regexp.MustCompile(`"[^"]*"|'[^']*'|\b[0-9a-fA-F-]{8,}\b|\d+`)

// Fingerprint names the cause that dead letters share: the reason, the error's
// type and its text without what varies, and the place in a program where it
// came up, "" if that is not known.
func Fingerprint(reason Reason, errorType, text, frame string) string {
	text = varying.ReplaceAllString(text, "#")
	sum := sha256.Sum256([]byte(string(reason) + "\x00" + errorType + "\x00" + text + "\x00" + frame))
	return hex.EncodeToString(sum[:8])
}
