package brokertest

import (
	"path/filepath"
	"testing"
)

// mutation breaks the product in one line.
type mutation struct {
	name     string
	file     string // below pipeline/broker
	old, new string // old must be there once
	fails    string // the test that must fail, below TestConformance/Guarantees
}

// mutations break what all drivers share, and the embedded broker.
var mutations = []mutation{
	{"NackLoop", "handout.go", "nackPause    = 10 * time.Millisecond", "nackPause    = 0", "NackPausesAndBlocksNoOther"},
	{"AckWhateverTheHandlerDid", "handout.go", "\tif acked {\n\t\td.run.End()", "\tif acked || d != nil {\n\t\td.run.End()", "NackPausesAndBlocksNoOther"},
	{"NoLanes", "claim.go", "return d.Key", `return ""`, "OrderPerKey"},
	{"NoLanesSideBySide", "claim.go", "return c.whole", `return ""`, "OrderOfPartition"},
	{"OneLane", "claim.go", "return d.Key", `return "k"`, "KeysRunSideBySide"},
	{"NoBound", "window.go", "make(chan struct{}, sub.InFlight)", "make(chan struct{}, 100*sub.InFlight)", "InFlightIsBoundedByCount"},
	{"NoBoundOfBytes", "window.go", "if sub.InFlightBytes > 0 {", "if false {", "InFlightIsBoundedByBytes"},
	{"PauseIsIgnored", "window.go", "if w.holds++; w.holds == 1 {", "if w.holds++; w.holds == 99 {", "PauseAndResume"},
	{"DrainDoesNotWait", "claim.go", "case <-c.idle:\n\t\treturn nil\n\tcase <-ctx.Done():", "case <-c.closing:\n\t\treturn nil\n\tcase <-ctx.Done():", "DrainWaitsForHandlers"},
	{"AcksPastAGap", "embedbroker/cursor.go", "return !p.done })\n\tif n < 0 {", "return !p.done })\n\tif n != 0 {", "OnlyWhatIsOpenComesAgain"},
	{"NoBarrier", "embedbroker/source.go", "return s.flush(claim, c)", "return nil", "DrainKeepsWhatIsDone"},
	{"LosesUnroutable", "embedbroker/broker.go", "if !ok {\n\t\treturn pipeline.WithReason(pipeline.Permanent", "if ok = true; !ok {\n\t\treturn pipeline.WithReason(pipeline.Permanent", "UnknownTopicIsAnError"},
	{"CommitWithoutTheAck", "embedbroker/broker.go", "if marked, err := w.cursor.finish(tx, w.claim, w.pos); err != nil || marked == 0 {", "if marked, err := 1, error(nil); w.pos < 0 || err != nil || marked == 0 {", "CommitIsOneStep"},
	{"StartIsIgnored", "embedbroker/cursor.go", "case start.Newest:", "case false:", "StartNewest"},
}

// TestMutations_OfThisCode: each of them still finds what it breaks. Whether a test
// fails of it is for TestMutations to show.
func TestMutations_OfThisCode(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			Overlay(t, filepath.Join("..", m.file), m.old, m.new)
		})
	}
}
