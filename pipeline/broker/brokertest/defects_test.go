package brokertest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, Leaks()...) }

// TestExercise: the suite passes on a broker that is whole.
func TestExercise(t *testing.T) {
	t.Parallel()
	Exercise(t, newMemServer(defects{}).harness())
}

// TestDefects: for each defect, the guarantee that it breaks fails.
func TestDefects(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		defects defects
		fails   string
	}{
		{"AckOnDelivery", defects{ackOnDelivery: true}, "OnlyWhatIsOpenComesAgain"},
		{"AckOnDeliveryAtDrain", defects{ackOnDelivery: true}, "DrainGivesBackInTime"},
		{"AcksPastGap", defects{acksPastGap: true}, "OnlyWhatIsOpenComesAgain"},
		{"ForgetsAbove", defects{forgetsAbove: true}, "OnlyWhatIsOpenComesAgain"},
		{"NoBarrier", defects{noBarrier: true}, "DrainKeepsWhatIsDone"},
		{"Storms", defects{storms: true}, "NackPausesAndBlocksNoOther"},
		{"LosesTaken", defects{losesTaken: true}, "CloseWithBacklog"},
		{"Abandons", defects{abandons: true}, "DrainWaitsForHandlers"},
		{"ForgetsKey", defects{forgetsKey: true}, "OrderPerKey"},
		{"SharesOrdered", defects{sharesOrdered: true}, "OrderPerKeySurvivesTakeovers"},
		{"LosesUnroutable", defects{losesUnroutable: true}, "UnknownTopicIsAnError"},
		{"OneErrorForAll", defects{oneErrorForAll: true}, "TooLargeIsAnErrorOfItsOwn"},
		{"ConfirmsEarly", defects{confirmsEarly: true}, "ConfirmedIsDurable"},
		{"ConfirmsEarlyWhatWasStarted", defects{confirmsEarly: true}, "StartedIsToldOnce"},
		{"TellsTwice", defects{tellsTwice: true}, "StartedIsToldOnce"},
		{"DropsEmpty", defects{dropsEmpty: true}, "MessagesArriveAsSent"},
		{"UnstableIDs", defects{unstableIDs: true}, "ForeignMessagesHaveStableIDs"},
		{"IgnoresDeadline", defects{ignoresDeadline: true}, "ExpiredContextIsATimeout"},
		{"TailSteals", defects{tailSteals: true}, "TailOldestShowsWhatIsThere"},
		{"TailSkips", defects{tailSkips: true}, "TailNewestDisturbsNobody"},
		{"StartsOldest", defects{startsOldest: true}, "StartNewest"},
		{"StartsOldestAtATime", defects{startsOldest: true}, "StartAtATime"},
		{"Resets", defects{resets: true}, "StartNewest"},
		{"MakesOnVerify", defects{makesOnVerify: true}, "VerifyFindsWhatIsMissing"},
		{"Miscounts", defects{miscounts: true}, "InspectCounts"},
		{"HalfCommits", defects{halfCommits: true}, "CommitIsOneStep"},
		{"HalfCommitsWhatWasStarted", defects{halfCommits: true}, "StartedCommitIsOneStep"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			failure := ""
			for range tries {
				if failure = test.defects.foundBy(t, test.fails); failure != "" {
					break
				}
			}
			require.NotEmpty(t, failure, "%s passed on a broker with this defect", test.fails)
			t.Log(failure)
		})
	}
}

// tries is how often a guarantee may pass on a broker with a defect. Two instances
// that share what is ordered, for example, may be lucky once in twenty times.
const tries = 5

// foundBy returns how the guarantee of that name fails on a broker with the
// defects; "": it does not.
func (d defects) foundBy(t *testing.T, name string) string {
	h := newMemServer(d).harness()
	all := guarantees(h)
	i := slices.IndexFunc(all, func(g guarantee) bool { return g.name == name })
	require.GreaterOrEqual(t, i, 0, "there is no guarantee %s", name)
	fake := &fakeTB{TB: t}
	fake.run(h, all[i])
	if len(fake.failures) == 0 {
		return ""
	}
	return fake.failures[0]
}

// fakeTB is a test that may fail without failing the real one.
type fakeTB struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// run runs the guarantee and its cleanups, patient for two seconds only.
func (f *fakeTB) run(h Harness, g guarantee) {
	f.apart(func() {
		fix := newFixture(f, h)
		fix.patience = 2 * time.Second
		g.run(fix)
	})
	for i := len(f.cleanups) - 1; i >= 0; i-- {
		f.apart(f.cleanups[i])
	}
}

// apart runs do where FailNow ends nothing but it.
func (f *fakeTB) apart(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	<-done
}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures = append(f.failures, fmt.Sprintf(format, args...))
}

func (f *fakeTB) FailNow() {
	f.Errorf("ended")
	runtime.Goexit()
}

func (f *fakeTB) Cleanup(c func()) { f.cleanups = append(f.cleanups, c) }
