package rule

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The short way and the machine must never disagree.
func TestProgram_BoolAgreesWithEval(t *testing.T) {
	t.Parallel()
	lines := []string{
		`{"type":"lens"}`, `{"type":"le\u006es"}`, `{"type":"frame","x":1}`, `{"type":null}`, `{}`, `{"type":1}`, `{"type":["lens"]}`,
		`{"type":{}}`, `{"type":""}`, `{"type":"lens","type":"x"}`, `{"type":"\ud800"}`, `[]`, `null`, `7`, `"lens"`,
	}
	for source, short := range map[string]bool{
		`line.type == "lens"`:                                        true,
		`line.type != "lens"`:                                        true,
		`line["type"] == "lens"`:                                     true,
		`line.type in ["lens", "frame"]`:                             true,
		`line.type not in ["lens", "frame"]`:                         true,
		`line.type startsWith "l"`:                                   true,
		`line.type == nil`:                                           true,
		`line.type != nil`:                                           true,
		`line.type != nil and line.type startsWith "l"`:              true,
		`line.type == nil or line.type == "" or not (line.x == nil)`: true,
		`line.type == 1`:                                             false,
		`line.type endsWith "s"`:                                     false,
		`line.type in "lens"`:                                        false,
		`line.type == ["lens"]`:                                      false,
		`line.type in [1, "lens"]`:                                   false,
		`line.type startsWith nil`:                                   false,
		`line.x.y == "lens"`:                                         false,
		`"lens" == line.type`:                                        false,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			p, err := CompileBool(source, "line")
			require.NoError(t, err)
			require.Equal(t, short, p.test != nil)
			slow := *p
			slow.test = nil
			for _, line := range lines {
				want, wantErr := slow.Bool(map[string]any{"line": NewLazy([]byte(line))})
				got, err := p.Bool(map[string]any{"line": NewLazy([]byte(line))})
				require.Equal(t, want, got, line)
				require.Equal(t, wantErr, err, line)
			}
		})
	}
}

func TestProgram_BoolOnTextAllocatesNothing(t *testing.T) {
	p, err := CompileBool(`line.type == "lens" or line.sku startsWith "L" and line.frame != nil`, "line")
	require.NoError(t, err)
	line := NewLazy([]byte(`{"sku":"L-1","type":"frame","quantity":2,"frame":{}}`))
	env := map[string]any{"line": line}
	require.Zero(t, testing.AllocsPerRun(200, func() {
		line.Reset(line.Raw())
		if yes, err := p.Bool(env); err != nil || !yes {
			t.Errorf("got %v, %v", yes, err)
		}
	}))
}

func BenchmarkProgram_Bool(b *testing.B) {
	for _, source := range []string{`line.type == "lens"`, `line.quantity > 1`, `lower(line.type) == "lens"`} {
		b.Run(source, func(b *testing.B) {
			p, err := CompileBool(source, "line")
			require.NoError(b, err)
			line := NewLazy([]byte(`{"sku":"LENS-SV-167","type":"lens","quantity":4,"price":49.50,"description":"Single vision 1.67"}`))
			env := map[string]any{"line": line}
			b.ReportAllocs()
			for b.Loop() {
				line.Reset(line.Raw())
				if yes, err := p.Bool(env); err != nil || !yes {
					b.Fatal(yes, err)
				}
			}
		})
	}
}
