package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/etcdguard/etcdguard/bench/report"
)

// micro is a benchmark of one package, which Go's own harness runs. It measures no
// server; on the command line it is named beside the workloads.
type micro struct {
	name string
	pkg  string // in the main module
	run  string // as in go test -bench
	args []string
}

func packages() []micro {
	return []micro{
		{name: "values", pkg: "./seal", run: "^Benchmark(Seal|Open)$", args: []string{"-benchtime=200ms"}},
		{name: "atrest", pkg: "./atrest", run: "^BenchmarkCat$", args: []string{"-benchtime=5x", "-atrest.mib=512"}},
	}
}

func microNames() (names []string) {
	for _, m := range packages() {
		names = append(names, m.name)
	}
	return names
}

// measure runs the benchmark once.
func (m micro) measure(ctx context.Context, module string, round int) ([]report.Micro, error) {
	args := append([]string{"test", "-C", module, "-run=^$", "-bench=" + m.run, "-timeout=20m", m.pkg}, m.args...)
	cmd := exec.CommandContext(ctx, "go", args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running the benchmarks of %s: %w\n%s%s", m.pkg, err, out, complaint.Bytes())
	}
	found, err := parseMicro(string(out))
	if err != nil {
		return nil, fmt.Errorf("reading the benchmarks of %s: %w", m.pkg, err)
	}
	for i := range found {
		found[i].Round = round + 1
	}
	return found, nil
}

// parseMicro reads Go's benchmark format: a name, a count, and pairs of a number and
// its unit (golang.org/design/14313-benchmark-format).
func parseMicro(text string) (found []report.Micro, err error) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "Benchmark") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 4 || len(words)%2 != 0 {
			return nil, fmt.Errorf("a line that is none: %q", line)
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		if cut := strings.LastIndexByte(name, '-'); cut > 0 { // the number of processors
			name = name[:cut]
		}
		m := report.Micro{Name: name, Figures: map[string]float64{}}
		for i := 2; i < len(words); i += 2 {
			if m.Figures[words[i+1]], err = strconv.ParseFloat(words[i], 64); err != nil {
				return nil, fmt.Errorf("a figure that is none: %w", err)
			}
		}
		found = append(found, m)
	}
	if len(found) == 0 {
		return nil, errors.New("it has none")
	}
	return found, nil
}
