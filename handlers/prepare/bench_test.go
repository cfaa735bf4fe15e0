package prepare

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

// kilobyte is an order of 1 KB with five lines, twelve pieces in all.
const kilobyte = `{"orderId":"ORD-2026-000417","created":"2026-11-03T09:41:27Z","channel":"web","currency":"EUR",` +
	`"customer":{"id":"C-88123","name":"Ada Example","email":"ada@example.com"},` +
	`"shipping":{"street":"1 Example Street","city":"Hamburg","zip":"20095","country":"DE","method":"standard"},` +
	`"order_lines":[` +
	`{"sku":"FRAME-0017-BLK","type":"frame","quantity":2,"price":89.90,"description":"Round frame, black"},` +
	`{"sku":"LENS-SV-167","type":"lens","quantity":4,"price":49.50,"description":"Single vision 1.67"},` +
	`{"sku":"CASE-HARD","type":"case","quantity":2,"price":9.90,"description":"Hard case, large"},` +
	`{"sku":"CLOTH-BLUE","type":"accessory","quantity":3,"price":2.50,"description":"Cleaning cloth, blue"},` +
	`{"sku":"SPRAY-30","type":"accessory","quantity":1,"price":4.90,"description":"Cleaning spray 30 ml"}],` +
	`"payment":{"method":"card","paid":true,"reference":"PAY-7781-2231"},"total":418.60,"note":"please call before delivery, the bell does not work; leave it with the neighbour on the second floor if nobody answers the door"}`

// benchConfigs are what BenchmarkPrepare runs.
var benchConfigs = []struct {
	name  string
	c     Config
	rules int // evaluated for kilobyte, at most
}{
	{"identity", Config{}, 0},
	{"per_unit", Config{Split: Split{Otherwise: PerUnit}, Stages: Stages{Default: []string{"pick", "pack", "dispatch"}}}, 0},
	{"whole_line", Config{Stages: Stages{Default: []string{"pick", "pack", "dispatch"}}}, 0},
	{"rules", Config{
		Split:  Split{Rules: []SplitRule{{When: `line.type == "frame"`, PerUnit: true}}},
		Stages: Stages{Rules: []StageRule{{When: `line.type == "lens"`, Stages: []string{"surface", "coat", "glaze", "inspect"}}}, Default: []string{"pick", "pack", "dispatch"}},
	}, 5 + 6},
}

func BenchmarkIsValid(b *testing.B) {
	order := jsontext.Value(kilobyte)
	b.SetBytes(int64(len(order)))
	b.ReportAllocs()
	for b.Loop() {
		if !order.IsValid() {
			b.Fatal("not valid")
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	for _, c := range benchConfigs {
		b.Run(c.name, func(b *testing.B) {
			p, err := New(c.c)
			require.NoError(b, err)
			order := []byte(kilobyte)
			b.SetBytes(int64(len(order)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Prepare(order); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestPrepare_AllocatesLittle(t *testing.T) {
	for _, c := range benchConfigs {
		p, err := New(c.c)
		require.NoError(t, err)
		order := []byte(kilobyte)
		allocs := testing.AllocsPerRun(200, func() {
			if _, err := p.Prepare(order); err != nil {
				t.Error(err)
			}
		})
		require.LessOrEqual(t, allocs, float64(25+3*c.rules), c.name)
	}
}

// BenchmarkPrepareOverIsValid runs both in turn, a few of each at a time, and
// reports the ratio of their quickest turns: on a shared machine that is the
// steady figure.
func BenchmarkPrepareOverIsValid(b *testing.B) {
	const turn = 20
	for _, c := range benchConfigs {
		b.Run(c.name, func(b *testing.B) {
			p, err := New(c.c)
			require.NoError(b, err)
			order := []byte(kilobyte)
			prepare, valid := time.Hour, time.Hour
			for b.Loop() {
				start := time.Now()
				for range turn {
					_, _ = p.Prepare(order)
				}
				middle := time.Now()
				for range turn {
					_ = jsontext.Value(order).IsValid()
				}
				prepare, valid = min(prepare, middle.Sub(start)), min(valid, time.Since(middle))
			}
			b.ReportMetric(float64(prepare)/float64(valid), "ratio")
			b.ReportMetric(float64(prepare)/turn, "ns/prepare")
			b.ReportMetric(float64(valid)/turn, "ns/valid")
			b.ReportMetric(0, "ns/op")
		})
	}
}
