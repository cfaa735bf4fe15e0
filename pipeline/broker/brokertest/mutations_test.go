//go:build mutation

package brokertest

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
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
	{"CommitWithoutTheAck", "embedbroker/broker.go", "if marked, err := c.finish(tx, claim, pos); err != nil || marked == 0 {", "if marked, err := 1, error(nil); c == nil || pos < 0 || err != nil || marked == 0 {", "CommitIsOneStep"},
	{"StartIsIgnored", "embedbroker/cursor.go", "case start.Newest:", "case false:", "StartNewest"},
}

// TestMutations: each of them makes its test fail. It builds the product once
// for each, which takes minutes:
//
//	go test -tags mutation -run TestMutations -v ./pipeline/broker/brokertest
func TestMutations(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			overlay := Overlay(t, filepath.Join("..", m.file), m.old, m.new)
			out, err := exec.Command("go", "test", "-overlay", overlay, "-short", "-count=1", "-timeout=5m",
				"-run", "^TestConformance$/^Guarantees$/^"+m.fails+"$", "../embedbroker").CombinedOutput()
			require.Error(t, err, "%s passed:\n%s", m.fails, out)
			require.Contains(t, string(out), "--- FAIL: TestConformance/Guarantees/"+m.fails, "it is the test that fails, not the build")
		})
	}
}
