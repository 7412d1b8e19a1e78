package report

import (
	"math"
	"strings"
	"testing"
)

// turns are windows of one load in one round, without and with resealing in turns, of
// one second each.
func turns(round int, workload string, ops ...int) (windows []ResealWindow) {
	for i, n := range ops {
		w := ResealWindow{Resealing: i%2 == 1, Measurement: Measurement{Round: round, Workload: workload, Ops: n, Seconds: 1, P99Micros: 1000}}
		if w.Resealing {
			w.PerSecond = 200
		}
		windows = append(windows, w)
	}
	return windows
}

func TestResealingIsComparedWithItsNeighbours(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []int
		want float64
	}{
		{"steady", []int{1000, 900, 1000}, 0.9},
		{"a machine that gets slower is not the resealing", []int{1000, 900, 800}, 1},
		{"the median of two turns", []int{1000, 900, 1000, 800, 1000}, 0.85},
		{"each turn has neighbours of its own", []int{1000, 900, 1000, 1350, 2000}, 0.9},
	} {
		r := Reseal{Windows: append(turns(1, "get", 7, 7, 7), turns(3, "put", c.ops...)...)}
		got := r.ratio("put", throughput)
		if len(got) != 1 || math.Abs(got[3]-c.want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAResealingWithoutBothNeighboursHasNoRatio(t *testing.T) {
	for _, ops := range [][]int{nil, {1000}, {1000, 900}} {
		if got := (Reseal{Windows: turns(1, "put", ops...)}).ratio("put", throughput); len(got) != 0 {
			t.Errorf("%v: got %v", ops, got)
		}
	}
}

func TestPageShowsResealing(t *testing.T) {
	r := sample()
	for round := 1; round <= 5; round++ {
		r.Reseal.Windows = append(r.Reseal.Windows, turns(round, "put", 1000, 920+round, 1000, 920+round, 1000)...)
		r.Reseal.Windows = append(r.Reseal.Windows, turns(round, "get", 1000, 840+round, 1000, 840+round, 1000)...)
		r.Reseal.Idle = append(r.Reseal.Idle, ResealIdle{Round: round, Values: 10_000, Seconds: 20})
	}
	page := r.Markdown()
	for _, want := range []string{
		"| put, resealing | throughput | without | ≥ 0.90 | 0.92 (0.92–0.93) | reached |",
		"| get, resealing | throughput | without | ≥ 0.90 | 0.84 (0.84–0.84) | **missed** |",
		"| put | 1,000 (1,000–1,000) | 923 (921–925) | 0.92 (0.92–0.93) | 1.00 (1.00–1.00) | 200 (200–200) |",
		"a rewriting of 10000 values",
		"| none | | | | | 500 (500–500) |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	r.Reseal.Windows[1].OtherCPUSeconds = 1
	if !strings.Contains(r.Markdown(), "took up to 50 % of the machine") {
		t.Error("noise in a window of resealing is not told")
	}
}

func TestNoResealingIsNotShown(t *testing.T) {
	if page := sample().Markdown(); strings.Contains(page, "esealing") {
		t.Errorf("the page speaks of what was not measured:\n%s", page)
	}
}
