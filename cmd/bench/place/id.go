package place

import (
	"time"

	"github.com/google/uuid"
)

// newID makes the names of a site its own.
func newID() string { return uuid.NewString()[:8] }

// noDue is the due time of orders whose latency nobody measures.
var noDue time.Time

// readTimeout is how long reading all outputs may take.
const readTimeout = 5 * time.Minute
