//go:build race

package rabbitbroker

// raceDetector is on. Watermill's TestReconnect has a race of its own, between
// the slice that it publishes from and the one that it compares with.
const raceDetector = true
