package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
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
	// runs says that it runs etcdguard itself, on files that all rounds share.
	runs bool
}

func packages() []micro {
	return []micro{
		{name: "values", pkg: "./seal", run: "^Benchmark(Seal|Open)$", args: []string{"-benchtime=200ms"}},
		{name: "atrest", pkg: "./atrest", run: "^BenchmarkCat$", args: []string{"-benchtime=5x", "-atrest.mib=2048"}, runs: true},
	}
}

func microNames() (names []string) {
	for _, m := range packages() {
		names = append(names, m.name)
	}
	return names
}

// measure runs the benchmark once. What it needs files for, it keeps in dir.
func (m micro) measure(ctx context.Context, cfg config, dir string, round int) ([]report.Micro, error) {
	args := append([]string{"test", "-C", cfg.module, "-run=^$", "-bench=" + m.run, "-timeout=20m", m.pkg}, m.args...)
	if m.runs {
		more, err := m.running(cfg.etcdguard, dir)
		if err != nil {
			return nil, err
		}
		args = append(args, more...)
	}
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

// running are the arguments for the etcdguard to run; without one, the benchmark makes do
// with itself.
func (m micro) running(etcdguard, dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for the bench's own directory: %w", err)
	}
	args := []string{fmt.Sprintf("-%s.dir=%s", m.name, dir)}
	if etcdguard == "" {
		return args, nil
	}
	if etcdguard, err = filepath.Abs(etcdguard); err != nil {
		return nil, fmt.Errorf("looking for etcdguard: %w", err)
	}
	return append(args, fmt.Sprintf("-%s.command=%s", m.name, etcdguard)), nil
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
