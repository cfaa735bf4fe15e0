// Bench measures what Waybill's plumbing costs: the same job, done by the
// bare client, by the published Watermill adapters and by `waybill run`, in
// turn, on each broker. docs/performance.md has the method and the figures.
//
// It is a program of its own, so that the published adapters are not linked
// into Waybill. Package job is what is done, place where, peer by whom, trial
// measures one run, and report makes medians of many.
package main
