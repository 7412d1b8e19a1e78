package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// tally is what a part came to.
type tally struct {
	name       string
	ran        []string
	stock, got results
	verdict    verdict
	secondTry  []string
}

// add sums up. Parts of one run share no tests.
func (t *tally) add(u tally) {
	merge := func(into, from results) results {
		if into == nil {
			into = results{}
		}
		for name, s := range from {
			into[name] = s
		}
		return into
	}
	t.ran = append(t.ran, u.ran...)
	t.stock, t.got = merge(t.stock, u.stock), merge(t.got, u.got)
	t.verdict.expected = append(t.verdict.expected, u.verdict.expected...)
	t.verdict.unexpected = append(t.verdict.unexpected, u.verdict.unexpected...)
	t.verdict.stale = append(t.verdict.stale, u.verdict.stale...)
	t.secondTry = append(t.secondTry, u.secondTry...)
}

// printTallies is the table of pass counts beside stock's.
func printTallies(out io.Writer, all []tally, stock bool) {
	if len(all) == 2 { // one part is its own total
		all = all[:1]
	}
	program := "etcdguard"
	if stock {
		program = "stock, now"
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "part\tstock: pass fail skip\t%s: pass fail skip\twith subtests: stock pass\t%s pass\texpected differences\tunexpected\tstale\n", program, program)
	three := func(r results) string {
		return fmt.Sprintf("%d %d %d", r.count(passed, false), r.count(failed, false), r.count(skipped, false))
	}
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", t.name, three(t.stock), three(t.got),
			t.stock.count(passed, true), t.got.count(passed, true), len(t.verdict.expected), len(t.verdict.unexpected), len(t.verdict.stale))
	}
	w.Flush()
	last := all[len(all)-1]
	for i, d := range last.verdict.expected {
		if i == 0 || top(last.verdict.expected[i-1].test) != top(d.test) {
			fmt.Fprintf(out, "differs on purpose: %s: %s [promise: %s]\n", top(d.test), d.why.Reason, d.why.Promise)
		}
	}
	for _, name := range last.secondTry {
		fmt.Fprintf(out, "passed on the second try only: %s\n", name)
	}
}

// printPart says what a part runs.
func printPart(out io.Writer, p part, tests []string) {
	fmt.Fprintf(out, "%s (%d tests of package %s)\n", p.name, len(tests), p.pkg)
	for _, t := range tests {
		fmt.Fprintf(out, "  %s\n", t)
	}
}

// printLeftOut says what of e2e no part runs, and why.
func printLeftOut(out io.Writer, all []string) {
	for _, l := range leftOut {
		var names []string
		for _, t := range all {
			if wholly(l.pattern).MatchString(t) {
				names = append(names, t)
			}
		}
		fmt.Fprintf(out, "left out, since %s: %s\n", l.why, strings.Join(names, " "))
	}
}

// excerpt is the end of what a test said, without the logs of its framework.
func excerpt(said string, lines int) string {
	var kept []string
	for line := range strings.Lines(said) {
		if strings.TrimSpace(line) != "" && !strings.Contains(line, "logger.go:") && !strings.HasPrefix(line, "===") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-lines):], "")
}
