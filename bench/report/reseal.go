package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reseal is what rewriting stored values costs the clients, and how fast it is.
type Reseal struct {
	// Windows of one load in one round take turns without and with resealing.
	Windows []ResealWindow `json:"windows"`
	Idle    []ResealIdle   `json:"idle"`
}

// ResealWindow is one window of a load.
type ResealWindow struct {
	Measurement
	Resealing bool    `json:"resealing"`
	PerSecond float64 `json:"values_per_second"` // rewritten meanwhile
}

// ResealIdle is a rewriting from its beginning to its end, without any load.
type ResealIdle struct {
	Round   int     `json:"round"`
	Values  int64   `json:"values"`
	Seconds float64 `json:"seconds"`
}

// of are the windows of one load, by round.
func (r Reseal) of(workload string) map[int][]ResealWindow {
	out := map[int][]ResealWindow{}
	for _, w := range r.Windows {
		if w.Workload == workload {
			out[w.Round] = append(out[w.Round], w)
		}
	}
	return out
}

// loads are those that there are windows of, in their order.
func (r Reseal) loads() (names []string) {
	for _, w := range r.Windows {
		if !slices.Contains(names, w.Workload) {
			names = append(names, w.Workload)
		}
	}
	return names
}

// perRound is the median of a metric over the windows of a round that are with, or
// without, resealing.
func (r Reseal) perRound(workload string, resealing bool, of func(ResealWindow) float64) map[int]float64 {
	out := map[int]float64{}
	for round, windows := range r.of(workload) {
		var v []float64
		for _, w := range windows {
			if w.Resealing == resealing {
				v = append(v, of(w))
			}
		}
		if len(v) > 0 {
			out[round] = spreadOf(maps.Collect(slices.All(v))).Median
		}
	}
	return out
}

// ratio compares each window with resealing with the mean of its neighbours without,
// so that what drifts steadily cancels out, and takes the median of each round.
func (r Reseal) ratio(workload string, of metric) map[int]float64 {
	out := map[int]float64{}
	for round, windows := range r.of(workload) {
		turns := map[int]float64{}
		for i := 1; i+1 < len(windows); i++ {
			before, with, after := windows[i-1], windows[i], windows[i+1]
			if with.Resealing && !before.Resealing && !after.Resealing {
				turns[i] = of(with.Measurement) / ((of(before.Measurement) + of(after.Measurement)) / 2)
			}
		}
		if len(turns) > 0 {
			out[round] = spreadOf(turns).Median
		}
	}
	return out
}

// idlePerSecond is the rate of the whole rewriting, by round.
func (r Reseal) idlePerSecond() map[int]float64 {
	out := map[int]float64{}
	for _, i := range r.Idle {
		out[i.Round] = float64(i.Values) / i.Seconds
	}
	return out
}

// leastWhileResealing is what clients keep of their throughput.
const leastWhileResealing = 0.9

func (r *Run) writeResealBudget(b *strings.Builder) {
	for _, name := range r.Reseal.loads() {
		l, s := limit{atLeast: leastWhileResealing}, spreadOf(r.Reseal.ratio(name, throughput))
		fmt.Fprintf(b, "| %s, resealing | throughput | without | %s | %s | %s |\n", name, l, s.format(ratioNumber), l.verdict(s))
	}
}

func (r *Run) writeReseal(b *strings.Builder) {
	if len(r.Reseal.Windows) == 0 {
		return
	}
	fmt.Fprintf(b, "## Resealing\n\nWhat clients notice while a member rewrites stored values under a new data key, at the rate that it chooses when nobody says one. Windows of the same load on the same member take turns; each with resealing, which is then at its pace, is compared with the two without beside it. `none` is a rewriting of %d values from its beginning to its end, on a member that has nothing else to do.\n\n", r.Reseal.idleValues())
	fmt.Fprintf(b, "| load | operations/s without | with | ratio | p99 with × without | values rewritten/s |\n|---|---|---|---|---|---|\n")
	for _, name := range r.Reseal.loads() {
		speed := func(w ResealWindow) float64 { return throughput(w.Measurement) }
		rewritten := func(w ResealWindow) float64 { return w.PerSecond }
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", name,
			spreadOf(r.Reseal.perRound(name, false, speed)).format(number), spreadOf(r.Reseal.perRound(name, true, speed)).format(number),
			spreadOf(r.Reseal.ratio(name, throughput)).format(ratioNumber), spreadOf(r.Reseal.ratio(name, p99Millis)).format(ratioNumber),
			spreadOf(r.Reseal.perRound(name, true, rewritten)).format(number))
	}
	fmt.Fprintf(b, "| none | | | | | %s |\n\n", spreadOf(r.Reseal.idlePerSecond()).format(number))
}

func (r Reseal) idleValues() int64 {
	if len(r.Idle) == 0 {
		return 0
	}
	return r.Idle[0].Values
}
