package prove

import (
	"os"
	"time"
)

// size is how much of the proof is run.
type size struct {
	orders   int
	kills    int
	drains   int
	restarts int // of a broker
	delayed  int // messages for the 50 ms handler
	cuts     int // of power
	poison   int // orders among which four kill
	letters  int // that are replayed
	between  time.Duration

	replayKills int // while they are
	stored      int // orders on PostgreSQL
	storeKills  int // of it
}

// full is what the issue asks for; small is what fits into `go test`.
var full = os.Getenv("WAYBILL_PROVE") == "full"

func sizes() size {
	if full {
		return size{orders: 100_000, kills: 20, drains: 20, restarts: 3, delayed: 40_000, cuts: 100, poison: 20_000, letters: 100_000, replayKills: 5, stored: 10_000, storeKills: 15, between: time.Second}
	}
	return size{orders: 2_000, kills: 3, drains: 3, restarts: 1, delayed: 2_000, cuts: 4, poison: 2_600, letters: 600, replayKills: 1, stored: 600, storeKills: 3, between: 400 * time.Millisecond}
}
