package prepare

import "github.com/waybill-dev/waybill/handlers/rule"

// Names that rules know.
const (
	lineName  = "line"
	orderName = "order"
)

// workspace is the memory of one pass over an order, kept for the next.
type workspace struct {
	p     *Preparer
	order []byte
	do    steps

	top      object // the order's members
	line     object // those of the line that is read
	id       choice // of the order
	plans    []plan
	jobs     int // of all plans
	template template

	// What rules see. line stands for another line or job each time.
	env       map[string]any
	lineView  *rule.Lazy
	orderView *rule.Lazy
}

func newWorkspace() *workspace {
	w := &workspace{lineView: rule.NewLazy(nil), orderView: rule.NewLazy(nil)}
	w.env = map[string]any{lineName: w.lineView, orderName: w.orderView}
	return w
}

func (w *workspace) begin(p *Preparer, order []byte, do steps) {
	w.p, w.order, w.do = p, order, do
	w.orderView.Reset(order)
}

// oversized reports whether w grew so large that it is not worth keeping.
func (w *workspace) oversized() bool {
	return cap(w.plans) > 1024 || cap(w.template.text) > 64<<10 || cap(w.top.members) > 1024
}

// release forgets the order.
func (w *workspace) release() {
	w.order, w.id, w.jobs = nil, choice{}, 0
	w.orderView.Reset(nil)
	w.lineView.ResetObject(nil, nil)
	w.top.reset()
	w.line.reset()
	clear(w.plans)
	w.plans = w.plans[:0]
	w.template.reset()
}
