package report

import (
	"maps"
	"math"
	"slices"
)

// spread is a median and what it stands on.
type spread struct {
	Median, Min, Max float64
	N                int
}

// spreadOf sums up the rounds. Nothing measured is NaN, never zero: a zero
// would read as a result.
func spreadOf(rounds map[int]float64) spread {
	v := slices.Sorted(maps.Values(rounds))
	if len(v) == 0 {
		return spread{Median: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	}
	mid := len(v) / 2
	median := v[mid]
	if len(v)%2 == 0 {
		median = (v[mid-1] + v[mid]) / 2
	}
	return spread{Median: median, Min: v[0], Max: v[len(v)-1], N: len(v)}
}

// ratios divides round by round. A round that only one side has is left out.
func ratios(of, by map[int]float64) map[int]float64 {
	out := map[int]float64{}
	for round, a := range of {
		if b, ok := by[round]; ok && b != 0 {
			out[round] = a / b
		}
	}
	return out
}
