//go:build !race

package rabbitbroker

const raceDetector = false
