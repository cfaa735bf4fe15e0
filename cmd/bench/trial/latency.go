package trial

// Latencies are what a message took from when it was due until its output
// was seen, in milliseconds.
type Latencies struct{ P50, P99, P999 float64 }
