package report

import (
	"fmt"
	"io"
)

// Fit is a straight line through medians: cost = Base + PerKB × kilobytes of
// an order. Each measurement counts by its share, not its size, so that 100 KB
// does not drown out 0.1 KB.
type Fit struct{ Base, PerKB float64 }

// fit is weighted least squares with weights 1/y².
func fit(x, y []float64) Fit {
	var w, wx, wy, wxx, wxy float64
	for i := range x {
		if y[i] <= 0 {
			continue
		}
		weight := 1 / (y[i] * y[i])
		w += weight
		wx += weight * x[i]
		wy += weight * y[i]
		wxx += weight * x[i] * x[i]
		wxy += weight * x[i] * y[i]
	}
	d := w*wxx - wx*wx
	if d == 0 {
		return Fit{}
	}
	slope := (w*wxy - wx*wy) / d
	return Fit{Base: (wy - slope*wx) / w, PerKB: slope}
}

// Fits prints how the costs of each implementation grow with the payload. Of
// lines without a size it says nothing.
func Fits(w io.Writer, lines []Line) {
	type series struct{ x, client, broker, gap []float64 }
	var order [][2]string
	all := make(map[[2]string]*series)
	for _, l := range lines {
		if l.KB == 0 {
			continue
		}
		k := [2]string{l.Broker, l.Impl}
		if all[k] == nil {
			all[k] = &series{}
			order = append(order, k)
		}
		s := all[k]
		s.x, s.client, s.broker = append(s.x, l.KB), append(s.client, l.ClientCPU.Median), append(s.broker, l.BrokerCPU.Median)
		s.gap = append(s.gap, 1e6/l.Rate.Median)
	}
	for _, k := range order {
		s := all[k]
		if len(s.x) < 2 {
			continue
		}
		client, broker, gap := fit(s.x, s.client), fit(s.x, s.broker), fit(s.x, s.gap)
		fmt.Fprintf(w, "%s, %s, for 1,000 messages of s KB: client CPU %.1f + %.2f s ms, broker CPU %.1f + %.2f s ms, time %.1f + %.2f s ms\n",
			k[0], k[1], client.Base, client.PerKB, broker.Base, broker.PerKB, gap.Base, gap.PerKB)
	}
}
