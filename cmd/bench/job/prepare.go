package job

import (
	"github.com/waybill-dev/waybill/handlers/prepare"
)

// PrepareFunc makes the output of an order.
type PrepareFunc func(order []byte) ([]byte, error)

// Rules is the config of the job as YAML, for Waybill's `with:`. It is the
// sample pipeline's.
const Rules = `{split: {rules: [{when: 'line.type == "frame"', per_unit: true}], otherwise: whole_line}, ` +
	`stages: {rules: [{when: 'line.type == "lens"', stages: [surface, coat, glaze, inspect]}], default: [pick, pack, dispatch]}}`

// NewPrepare returns the function that all implementations call: that of the
// kind prepare_order, with Rules.
func NewPrepare() (PrepareFunc, error) {
	p, err := prepare.New(prepare.Config{
		Split: prepare.Split{
			Rules:     []prepare.SplitRule{{When: `line.type == "frame"`, PerUnit: true}},
			Otherwise: prepare.WholeLine,
		},
		Stages: prepare.Stages{
			Rules:   []prepare.StageRule{{When: `line.type == "lens"`, Stages: []string{"surface", "coat", "glaze", "inspect"}}},
			Default: []string{"pick", "pack", "dispatch"},
		},
	})
	if err != nil {
		return nil, err
	}
	return p.Prepare, nil
}
