package policy

import (
	"cmp"
	"container/heap"
	"slices"
)

// claim is what one rule allows: keys, and the rule's place in the file.
type claim struct {
	interval
	rule int32
}

// segment is a stretch of keys that one rule decides. Segments do not overlap.
// Those that touch form a run, and runEnd is where it ends: a range that begins in
// the segment is covered, by however many rules, if it ends no later.
type segment struct {
	begin, runEnd string
	rule          int32
}

// flatten turns claims that may overlap into sorted segments. Where several claim
// a key, the rule that stands first in the file has it.
func flatten(claims []claim) []segment {
	if len(claims) == 0 {
		return nil
	}
	claims = slices.Clone(claims)
	slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.begin, b.begin) })
	var out []segment
	var active firstRule
	next := 0
	for _, at := range bounds(claims) {
		for next < len(claims) && claims[next].begin == at {
			heap.Push(&active, claims[next])
			next++
		}
		for len(active) > 0 && !active[0].contains(at) {
			heap.Pop(&active)
		}
		decides := int32(gap)
		if len(active) > 0 {
			decides = active[0].rule
		}
		if last := len(out) - 1; last < 0 || out[last].rule != decides {
			out = append(out, segment{begin: at, rule: decides})
		}
	}
	return closeRuns(out)
}

// gap marks, while flattening, a stretch that no rule claims.
const gap = -1

// closeRuns drops the gaps and gives each segment the end of its run.
func closeRuns(segments []segment) []segment {
	end := ""
	for i := len(segments) - 1; i >= 0; i-- {
		if segments[i].rule == gap {
			end = segments[i].begin
			continue
		}
		segments[i].runEnd = end
	}
	return slices.Clip(slices.DeleteFunc(segments, func(s segment) bool { return s.rule == gap }))
}

// bounds are the keys where something begins or ends, sorted, each once.
func bounds(claims []claim) []string {
	all := make([]string, 0, 2*len(claims))
	for _, c := range claims {
		all = append(all, c.begin)
		if c.end != "" {
			all = append(all, c.end)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// firstRule is a heap of the claims that hold at a key, the first in the file on
// top; claims that have ended are dropped when they come up.
type firstRule []claim

func (h firstRule) Len() int           { return len(h) }
func (h firstRule) Less(i, j int) bool { return h[i].rule < h[j].rule }
func (h firstRule) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *firstRule) Push(x any)        { *h = append(*h, x.(claim)) }
func (h *firstRule) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
