//go:build !race

package kafkabroker

const raceDetector = false
