package prepare

import (
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// planAmounts divides the amounts that the line's rule names among its jobs.
func (w *workspace) planAmounts(l *plan) error {
	line := l.span.Of(w.order)
	for _, path := range l.rule.SplitAmounts {
		at, ok, err := pointer.Find(line, path)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		shares, err := l.shares(string(at.Of(line)))
		if err != nil {
			return pipeline.Invalid("order line %d: %s: amount %s: %w", l.number, l.rule.name, path, err)
		}
		t := &w.template
		t.edits = append(t.edits, edit{Span: l.shift(at), hole: amountHole, amount: len(t.shares)})
		t.shares = append(t.shares, shares)
	}
	return nil
}

// shares divides an amount among the line's jobs by their units. All but the
// last are cut to the amount's own decimal places; the last gets the rest, so
// that their sum is the amount, exactly.
func (l *plan) shares(text string) ([]string, error) {
	amount, err := rule.ParseDecimal(text)
	if err != nil {
		return nil, err
	}
	total := int64(l.jobs)
	if l.rule.Batch > 0 {
		total = l.count.units
	}
	shares := make([]string, l.jobs)
	rest := amount
	var share rule.Decimal
	var of int64
	for job := 1; job < l.jobs; job++ {
		if units := l.unitsOf(job); units != of {
			if share, err = portion(amount, units, total); err != nil {
				return nil, err
			}
			of = units
		}
		if rest, err = rest.Sub(share); err != nil {
			return nil, err
		}
		shares[job-1] = share.String()
	}
	shares[l.jobs-1] = rest.String()
	return shares, nil
}

// portion returns amount × units ÷ total, cut to the amount's decimal places.
func portion(amount rule.Decimal, units, total int64) (rule.Decimal, error) {
	places, err := amount.Places()
	if err != nil {
		return rule.Decimal{}, err
	}
	scaled, err := amount.Mul(rule.NewDecimal(units))
	if err != nil {
		return rule.Decimal{}, err
	}
	return scaled.QuoCut(rule.NewDecimal(total), places)
}
