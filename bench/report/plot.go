package report

import (
	"cmp"
	"fmt"
	"html"
	"maps"
	"math"
	"slices"
	"strings"
)

// The plots are drawn by hand: a few bars and dots need no library. They have
// no background, and text follows the reader's colour scheme, so they can be
// read on a light and on a dark page. No meaning hangs on a colour alone: every
// bar and every dot row has its name beside it.
const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.faint { fill: #57606a; font-size: 12px }
.head { font-size: 15px; font-weight: 600 }
line { stroke: #8c959f }
.dot { fill: #24292f; fill-opacity: .55 }
.c0 { fill: #8c959f } .c1 { fill: #4a9edb } .c2 { fill: #e08a1e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9da7b3 } .dot { fill: #e6edf3; fill-opacity: .7 }
}
</style>
`

// canvas collects the elements of one drawing.
type canvas struct{ strings.Builder }

func (c *canvas) text(x, y float64, class, anchor, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, dash string) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke-dasharray="%s"/>`+"\n", x1, y1, x2, y2, dash)
}

func (c *canvas) bar(x, y, w, h float64, class string) {
	fmt.Fprintf(c, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="2" class="%s"/>`+"\n", x, y, w, h, class)
}

func (c *canvas) dot(x, y, radius float64, class string) {
	fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="%.1f" class="%s"/>`+"\n", x, y, radius, class)
}

func (c *canvas) svg(width, height float64, title string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" role="img">`+"\n<title>%s</title>\n", width, height, html.EscapeString(title)) +
		style + c.String() + "</svg>\n"
}

// ThroughputSVG draws a bar for each workload and contender: the median, with a
// dot for each round. Each workload has a scale of its own.
func (r *Run) ThroughputSVG() string {
	const width, left, right, barHeight, gap = 860.0, 250.0, 700.0, 17.0, 26.0
	var c canvas
	c.text(10, 22, "head", "start", "Throughput: median (bar) and rounds (dots)")
	y := 40.0
	for _, w := range r.Workloads {
		top := 0.0
		for _, who := range r.Contenders {
			top = max(top, spreadOf(r.perRound(w.Name, who.Name, throughput)).Max)
		}
		c.text(10, y+13, "", "start", w.Name)
		c.text(10, y+13+barHeight, "faint", "start", w.Unit)
		for i, who := range r.Contenders {
			rounds := r.perRound(w.Name, who.Name, throughput)
			s := spreadOf(rounds)
			c.text(left-8, y+13, "faint", "end", who.Name)
			if !math.IsNaN(s.Median) && top > 0 {
				scale := (right - left) / top
				c.bar(left, y+1, s.Median*scale, barHeight-3, fmt.Sprintf("c%d", i%3))
				for _, v := range slices.Sorted(maps.Values(rounds)) {
					c.dot(left+v*scale, y+barHeight/2, 2.2, "dot")
				}
			}
			c.text(right+12, y+13, "", "start", number(s.Median))
			y += barHeight
		}
		y += gap - barHeight + 4
	}
	return c.svg(width, y+6, "Throughput by workload and server")
}

// RatioSVG draws what etcdguard is to stock etcd: throughput on the left, CPU
// per operation on the right, a dot for each round, a larger one for the median.
func (r *Run) RatioSVG() string {
	const width, row = 860.0, 17.0
	var c canvas
	panels := []struct {
		title       string
		of          metric
		left, right float64
	}{
		{"throughput ratio (right of 1 is faster)", throughput, 220, 510},
		{"CPU per operation ratio (left of 1 is cheaper)", cpuMicros, 555, 845},
	}
	modes := []string{stock, stockSplit}
	c.text(10, 22, "head", "start", "etcdguard divided by stock etcd, paired by round")
	bottom := 66 + float64(len(r.Workloads))*(2*row+9)
	for p, panel := range panels {
		top := r.largestRatio(modes, panel.of)
		at := func(v float64) float64 { return panel.left + v/top*(panel.right-panel.left) }
		c.text(panel.left, 46, "faint", "start", panel.title)
		for tick := 0.0; tick <= top; tick += 0.5 {
			dash := "1 4"
			if tick == 1 {
				dash = "none"
			}
			c.line(at(tick), 56, at(tick), bottom, dash)
			c.text(at(tick), bottom+15, "faint", "middle", fmt.Sprintf("%.1f", tick))
		}
		y := 66.0
		for _, w := range r.Workloads {
			if p == 0 {
				c.text(10, y+13, "", "start", w.Name)
			}
			for i, mode := range modes {
				if p == 0 {
					c.text(panel.left-8, y+13, "faint", "end", "÷ "+mode)
				}
				rounds := ratios(r.perRound(w.Name, subject, panel.of), r.perRound(w.Name, mode, panel.of))
				for _, v := range slices.Sorted(maps.Values(rounds)) {
					c.dot(at(v), y+row/2, 2.2, "dot")
				}
				if s := spreadOf(rounds); !math.IsNaN(s.Median) {
					c.dot(at(s.Median), y+row/2, 5, fmt.Sprintf("c%d", i))
				}
				y += row
			}
			y += 9
		}
	}
	return c.svg(width, bottom+26, "Ratios of etcdguard to stock etcd by workload")
}

// largestRatio is the end of the axis: the next half above what there is.
func (r *Run) largestRatio(modes []string, of metric) float64 {
	top := 1.5
	for _, w := range r.Workloads {
		for _, mode := range modes {
			if s := r.ratio(w.Name, mode, of); cmp.Compare(s.Max, top) > 0 {
				top = s.Max
			}
		}
	}
	return math.Ceil(top*2) / 2
}
