package report

import (
	"fmt"
	"math"
	"strings"
)

// Markdown is the page for readers.
func (r *Run) Markdown() string {
	var b strings.Builder
	r.writeIntro(&b)
	if r.has(subject) {
		r.writeBudget(&b)
	}
	r.writeTable(&b, "Throughput", "Operations per second; more is better.", throughput, true)
	if r.has(subject) {
		r.writeRatios(&b)
	}
	r.writeTable(&b, "Server CPU per operation", "Microseconds of processor time, user and system, of the server process; less is better. For `watch` an operation is one event delivered to one watcher.", cpuMicros, false)
	r.writeTable(&b, "Latency, median", "Milliseconds, with clients that never pause, so it is mostly the wait for a turn; less is better.", p50Millis, false)
	r.writeTable(&b, "Latency, 99th percentile", "Milliseconds; less is better.", p99Millis, false)
	r.writeMemory(&b)
	r.writeReseal(&b)
	r.writeValues(&b)
	r.writeAtrest(&b)
	r.writeReading(&b)
	return b.String()
}

func (r *Run) has(contender string) bool {
	for _, c := range r.Contenders {
		if c.Name == contender {
			return true
		}
	}
	return false
}

func (r *Run) writeIntro(b *strings.Builder) {
	m, s := r.Machine, r.Settings
	fmt.Fprintf(b, "# Performance\n\nWritten by `make bench`; change the program in `bench/`, not this page.\n\n")
	if s.Rounds < 5 {
		fmt.Fprintf(b, "> **A trial:** %d of the 5 rounds that figures need. Do not quote it.\n\n", s.Rounds)
	}
	if r.noise() > 0.1 {
		fmt.Fprintf(b, "> **A noisy run:** something else took up to %.0f %% of the machine during a window. Only the processor time per operation means anything here.\n\n", 100*r.noise())
	}
	fmt.Fprintf(b, "![Throughput by workload and server](performance.svg)\n\n")
	if r.has(subject) {
		fmt.Fprintf(b, "![Ratios of etcdguard to stock etcd by workload](performance-ratio.svg)\n\n")
	}
	fmt.Fprintf(b, "| | |\n|---|---|\n| date | %s |\n| command | `%s` |\n| machine | %d cores, %s, data on %s, median append with fdatasync %.2f ms |\n",
		r.Started.UTC().Format("2006-01-02"), r.Command, m.Cores, m.Platform, m.Filesystem, m.SyncMillis)
	fmt.Fprintf(b, "| load | %d connections, %d clients, values of %d bytes; %d rounds, %.3g s counted after %.3g s of the same load |\n",
		s.Conns, s.Clients, s.ValueBytes, s.Rounds, s.WindowSeconds, s.WarmSeconds)
	for _, c := range r.Contenders {
		fmt.Fprintf(b, "| `%s` | %s (%s) |\n", c.Name, c.Title, c.Version)
	}
	fmt.Fprintf(b, "| taken by the load itself | at most %.0f %% of the machine in a window |\n", 100*r.clientShare())
	fmt.Fprintf(b, "| taken by anything else | at most %.0f %% of the machine in a window |\n\n", 100*r.noise())
}

func (r *Run) writeBudget(b *strings.Builder) {
	fmt.Fprintf(b, "## Against the budget\n\nRatios of etcdguard to stock etcd, paired by round: median (smallest–largest).\n\n")
	fmt.Fprintf(b, "| workload | what | against | must be | measured | |\n|---|---|---|---|---|---|\n")
	for _, l := range budget() {
		s := r.ratio(l.workload, l.against, l.of)
		fmt.Fprintf(b, "| %s | %s | `%s` | %s | %s | %s |\n", l.workload, l.what, l.against, l, s.format(ratioNumber), l.verdict(s))
	}
	own, other := spreadOf(r.fillMiB(subject)), spreadOf(r.fillMiB(stockSplit))
	bound := memoryFactor*other.Median + memoryAllowance
	fmt.Fprintf(b, "| memory | RSS at the same data | `%s` | ≤ %.2f × + %d MiB = %s MiB | %s MiB | %s |\n",
		stockSplit, memoryFactor, memoryAllowance, number(bound), own.format(number),
		limit{atMost: bound}.verdict(own))
	r.writeResealBudget(b)
	r.writeAtrestBudget(b)
	fmt.Fprintln(b)
	r.writeWhyRangesMiss(b)
}

func (r *Run) ratio(workload, against string, of metric) spread {
	return spreadOf(ratios(r.perRound(workload, subject, of), r.perRound(workload, against, of)))
}

// writeTable prints a metric of every workload and contender.
func (r *Run) writeTable(b *strings.Builder, title, text string, of metric, unit bool) {
	fmt.Fprintf(b, "## %s\n\n%s\n\n| workload |", title, text)
	for _, c := range r.Contenders {
		fmt.Fprintf(b, " %s |", c.Name)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(r.Contenders)))
	for _, w := range r.Workloads {
		label := w.Name
		if unit {
			label += " (" + w.Unit + ")"
		}
		fmt.Fprintf(b, "| %s |", label)
		for _, c := range r.Contenders {
			fmt.Fprintf(b, " %s |", spreadOf(r.perRound(w.Name, c.Name, of)).format(number))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}

func (r *Run) writeRatios(b *strings.Builder) {
	fmt.Fprintf(b, "## Ratios\n\netcdguard divided by each way to serve stock etcd, paired by round. The last column is what stock etcd gains by its separate HTTP listener: the part of the first column that is the transport.\n\n| workload |")
	columns := []struct {
		title        string
		of           metric
		who, against string
	}{
		{"throughput × default", throughput, subject, stock},
		{"throughput × separate HTTP", throughput, subject, stockSplit},
		{"CPU per operation × default", cpuMicros, subject, stock},
		{"CPU per operation × separate HTTP", cpuMicros, subject, stockSplit},
		{"p99 × separate HTTP", p99Millis, subject, stockSplit},
		{"stock alone: throughput, separate HTTP × default", throughput, stockSplit, stock},
	}
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c.title)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(columns)))
	for _, w := range r.Workloads {
		fmt.Fprintf(b, "| %s |", w.Name)
		for _, c := range columns {
			rounds := ratios(r.perRound(w.Name, c.who, c.of), r.perRound(w.Name, c.against, c.of))
			fmt.Fprintf(b, " %s |", spreadOf(rounds).format(ratioNumber))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}

func (r *Run) writeMemory(b *strings.Builder) {
	fmt.Fprintf(b, "## Memory\n\nResident memory of the server process in MiB. \"Same data\" is read after a fixed amount of writes (%d keys in batches, then %d single writes), the rest is the peak while the workload ran, which a faster server reaches with more data.\n\n| |",
		r.Settings.FillKeys, r.Settings.FillWrites)
	for _, c := range r.Contenders {
		fmt.Fprintf(b, " %s |", c.Name)
	}
	fmt.Fprintf(b, "\n|---|%s\n| same data |", strings.Repeat("---|", len(r.Contenders)))
	for _, c := range r.Contenders {
		fmt.Fprintf(b, " %s |", spreadOf(r.fillMiB(c.Name)).format(number))
	}
	fmt.Fprintln(b)
	for _, w := range r.Workloads {
		fmt.Fprintf(b, "| peak in %s |", w.Name)
		for _, c := range r.Contenders {
			fmt.Fprintf(b, " %s |", spreadOf(r.perRound(w.Name, c.Name, peakMiB)).format(number))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}

func (r *Run) writeReading(b *strings.Builder) {
	b.WriteString(`## How to read this

Every figure is the median over the rounds, with the smallest and the largest in
brackets. A ratio is taken inside a round, between runs that followed each other
within seconds, before its median is taken; so it is steadier than the quotient
of two medians, and need not equal it.

Each round starts every server afresh on an empty directory on the same disk and
fills it with the same data. For each workload the servers take turns, and who
goes first changes from workload to workload and from round to round. Only the
server under load runs; the others are stopped meanwhile. All are clusters of one
member, so no network and no second disk hides what serving costs. Load and
server share the machine: a server that needs less processor time leaves more to
the load, and throughput shows that twice. Processor time per operation does not,
and is the steadiest of the figures.

The servers use the same certificates, with mutual TLS on client and peer ports.
etcdguard runs with a policy of some 400 rules, the caller under load matched by
the last. Every answer is checked for its number of keys and its size; one wrong
or failed answer ends the run.

Compare ratios, not absolute figures, with those of another machine.

The workloads:

`)
	for _, w := range r.Workloads {
		fmt.Fprintf(b, "* `%s`: %s.\n", w.Name, w.Note)
	}
}

// format prints "median (min–max)".
func (s spread) format(number func(float64) string) string {
	switch {
	case math.IsNaN(s.Median):
		return "–"
	case s.N == 1:
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

func ratioNumber(v float64) string { return fmt.Sprintf("%.2f", v) }

// number prints three significant digits below 100 and thousands in groups.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	digits := fmt.Sprintf("%.0f", v)
	var out strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out.WriteByte(',')
		}
		out.WriteRune(d)
	}
	return out.String()
}
