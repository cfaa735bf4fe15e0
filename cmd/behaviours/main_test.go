package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const checklist = `# Title

Text with | a bar.

## §0 First

| ID | What the user gets | How | Since |
|---|---|---|---|
| 0-01 | it consumes | so | 0.1 |
| 0-W1 | it retries | so | 0.1 |
| 0-D24 | it tracks | with a store | later |
| 0-29 | not a thing | | not ours |

## §1 Second

Comes later.

| Name | Text |
|---|---|
| 9 | another table |
`

// events writes what go test -json would, from lines "action Test/sub_test".
func events(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		action, name, _ := strings.Cut(line, " ")
		fmt.Fprintf(&b, `{"Action":%q,"Package":"p","Test":%q}`+"\n", action, name)
	}
	return b.String()
}

type outcomes struct {
	code     int
	out, err string
}

func command(t *testing.T, rows, input string, args ...string) outcomes {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rows.md")
	require.NoError(t, os.WriteFile(file, []byte(rows), 0o600))
	var out, errOut strings.Builder
	code := run(append([]string{"-rows", file}, args...), strings.NewReader(input), &out, &errOut)
	return outcomes{code, out.String(), errOut.String()}
}

var both = []string{"pass TestA/0-01_consumes", "pass TestA", "pass TestB/0-W1_retries", "pass TestB"}

func TestRun_RowsCount(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		code  int
		says  string
	}{
		"AllHaveOne":       {both, exitOK, "2 of 2 rows that count now"},
		"OneHasNone":       {both[:2], exitMissing, "0-W1 has no test: it retries"},
		"OnlySkipped":      {append(both[:2:2], "skip TestB/0-W1_retries"), exitMissing, "0-W1 has only tests that were skipped"},
		"AnotherFailed":    {append(both[:4:4], "fail TestC/0-01_again"), exitMissing, "0-01 has a test that failed"},
		"NeverEnded":       {append(both[:4:4], "run TestC/0-01_again"), exitMissing, "0-01 has a test that failed"},
		"BelowItPassed":    {append(both[:2:2], "pass TestB/0-W1_retries/rabbitmq", "pass TestB/0-W1_retries"), exitOK, "2 of 2"},
		"BelowItSkipped":   {append(both[:2:2], "skip TestB/0-W1_retries/rabbitmq", "pass TestB/0-W1_retries"), exitMissing, "0-W1 has only tests"},
		"BelowAnotherName": {append(both[:2:2], "pass TestB/kafka/0-W1_retries"), exitOK, "2 of 2"},
		"LongerID":         {append(both[:2:2], "pass TestB/0-W11_other"), exitMissing, "0-W1 has no test"},
		"NotAtTheStart":    {append(both[:2:2], "pass TestB/row_0-W1"), exitMissing, "0-W1 has no test"},
		"OtherTestFailed":  {append(both[:4:4], "fail TestC"), exitMissing, "the tests of these packages failed:\n  p"},
		"FailedThenPassed": {append(both[:4:4], "fail TestA/0-01_consumes", "pass TestA/0-01_consumes"), exitMissing, "0-01 has a test that failed"},
		"UnknownRow":       {append(both[:4:4], "pass TestC/7-01_what"), exitOK, "not in the checklist: 7-01"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := command(t, checklist, events(c.lines...))
			require.Equal(t, c.code, got.code, got.out+got.err)
			require.Contains(t, got.out, c.says)
		})
	}
}

func TestRun_Output(t *testing.T) {
	t.Parallel()
	t.Run("Summary", func(t *testing.T) {
		t.Parallel()
		got := command(t, checklist, events(both...))
		require.Equal(t, "§0 First  2 of 2 rows, 1 later, 1 not ours\nall       2 of 2 rows that count now have a test that passed\n", got.out)
	})
	t.Run("Verbose", func(t *testing.T) {
		t.Parallel()
		got := command(t, checklist, events(both...), "-v")
		require.Contains(t, got.out, "  0-W1 (0.1)\n    passed p TestB/0-W1_retries\n  0-D24 (later)\n")
	})
	t.Run("Help", func(t *testing.T) {
		t.Parallel()
		got := command(t, checklist, "", "--help")
		require.Equal(t, exitOK, got.code)
		require.Contains(t, got.err, "go test -json ./... | go run ./cmd/behaviours")
	})
}

func TestRun_Input(t *testing.T) {
	t.Parallel()
	t.Run("FilesAndNoise", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "test.json")
		require.NoError(t, os.WriteFile(file, []byte("go: downloading x\n"+events(both...)+"null\n\n"), 0o600))
		require.Equal(t, exitOK, command(t, checklist, "", file).code)
	})
	t.Run("PackageThatDoesNotBuild", func(t *testing.T) {
		t.Parallel()
		got := command(t, checklist, events(both...)+`{"Action":"fail","Package":"q","FailedBuild":"q"}`)
		require.Equal(t, exitMissing, got.code)
		require.Contains(t, got.out, "  q\n")
	})
	t.Run("Nothing", func(t *testing.T) {
		t.Parallel()
		got := command(t, checklist, "")
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.err, "go test -json")
	})
	t.Run("NoFile", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, exitUsage, command(t, checklist, "", "does-not-exist").code)
	})
}

func TestParseRows_Faults(t *testing.T) {
	t.Parallel()
	const head = "| ID | Since |\n|---|---|\n"
	for name, c := range map[string]struct{ text, says string }{
		"Twice":      {"## S\n" + head + "| 0-01 | 0.1 |\n| 0-01 | later |\n", "line 5: row 0-01 is there twice"},
		"NoSection":  {head + "| 0-01 | 0.1 |\n", "line 3: row 0-01 stands above"},
		"BadSince":   {"## S\n" + head + "| 0-01 | soon |\n", `column Since has "soon"`},
		"OtherTable": {"## S\n| ID | Text |\n|---|---|\n| 0-01 | x |\n", `column Since has ""`},
		"Empty":      {"", "no table"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseRows(c.text)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// TestChecklist holds the real checklist to the rows that were promised for
// now and for later.
func TestChecklist(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/behaviours.md")
	require.NoError(t, err)
	sections, err := parseRows(string(text))
	require.NoError(t, err)
	got := make(map[string][]string)
	for _, s := range sections {
		for _, r := range s.rows {
			since := r.since
			if r.counts() {
				since = "now"
			}
			require.NotEmpty(t, r.what, r.id)
			got[since] = append(got[since], r.id)
		}
	}
	now := ranges("0-01:07", "0-10:19", "0-20:28", "0-W1:7", "0-D01:14", "0-D20:26", "0-D30:38",
		"1-01:28", "1-30:35", "1-50:59", "1-61:61", "1-63:64", "1-66:67", "1-W1:12", "1-W14:16", "X1:4", "X7:7", "X9:9", "X13:13",
		"2-01:27", "2-30:30", "2-40:45", "2-W1:10")
	require.ElementsMatch(t, now, got["now"])
	require.ElementsMatch(t, []string{"1-62", "1-65", "1-W13"}, got["later"])
	require.ElementsMatch(t, []string{"1-60", "2-28", "2-29"}, got["not ours"])
}

// ranges turns "0-D01:14" into 0-D01 to 0-D14.
func ranges(specs ...string) []string {
	var all []string
	for _, spec := range specs {
		first, last, _ := strings.Cut(spec, ":")
		at := strings.LastIndexAny(first, "-DWX") + 1
		var from, to int
		_, _ = fmt.Sscan(strings.TrimLeft(first[at:], "0"), &from)
		_, _ = fmt.Sscan(last, &to)
		for n := from; n <= to; n++ {
			all = append(all, fmt.Sprintf("%s%0*d", first[:at], len(first[at:]), n))
		}
	}
	return all
}
