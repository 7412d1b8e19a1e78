// Package report turns the measurements of a benchmark run into figures that
// can be read: a Markdown page, two plots, and the raw rounds as JSON.
//
// A figure is a median over rounds with the smallest and the largest beside it.
// A ratio is taken inside each round first, between runs that followed each
// other within seconds, and its median and spread are taken over the rounds:
// what drifts from round to round (the disk, the clock rate, a neighbour)
// cancels out.
//
// The package judges nothing: a missed budget is printed as missed, and the
// benchmark still succeeds.
package report
