// Package report makes medians of what was measured, and shows them: as a
// table for people, as results.json for programs, as a picture for the
// documents.
//
// A ratio is taken within a round, between two runs that followed each other,
// and the median is of these ratios: a machine that is shared is seldom the
// same for long.
package report
