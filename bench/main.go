// Command bench measures etcdguard's member beside stock etcd, in one run, on
// one machine, and writes the figures down:
//
//	go run . -stock ../e2e/bin/etcd -etcdguard ../bin/etcdguard -docs ../docs
//
// It starts every server itself, as a process on loopback with throw-away
// certificates, and stops it again. It trusts nothing that a server says about
// itself: operations are counted and timed by the client, every answer is
// checked, and processor time and memory come from the kernel. It promises
// figures, not a verdict: no speed, however poor, makes it fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/etcdguard/etcdguard/bench/contender"
	"github.com/etcdguard/etcdguard/bench/load"
	"github.com/etcdguard/etcdguard/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once, and the kernel ends the servers
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted; the servers are stopped")
		}
		fmt.Fprintf(os.Stderr, "bench: error: %v\n", err)
		stop()
		os.Exit(1)
	}
}

// config is what the command line says.
type config struct {
	stock, etcdguard string
	rounds           int
	pace             load.Pace
	workloads        []load.Workload
	micros           []micro
	does             contender.Does
	reseal           bool
	module           string // the main module, whose benchmarks are run
	dir              string
	docs, json       string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parse(args, stderr)
	if err != nil {
		return err
	}
	contenders, err := contender.New(cfg.stock, cfg.etcdguard, cfg.does)
	if err != nil {
		return err
	}
	// The load shares its cores with the server: memory is cheaper than the
	// processor time that a tight heap would cost.
	debug.SetGCPercent(400)

	dir, err := os.MkdirTemp(cfg.dir, "etcdguard-bench-")
	if err != nil {
		return fmt.Errorf("making a directory for the servers: %w; pass -dir", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	figures, err := measure(ctx, cfg, contenders, dir, stderr)
	if cfg.json != "" && figures != nil { // even after an error: rounds take minutes
		err = errors.Join(err, figures.WriteJSON(cfg.json))
	}
	if err != nil {
		return err
	}
	if cfg.docs == "" {
		_, err := io.WriteString(stdout, figures.Markdown())
		return err
	}
	return writeDocs(cfg.docs, figures, stderr)
}

func parse(args []string, stderr io.Writer) (config, error) {
	cfg := config{}
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&cfg.stock, "stock", "../e2e/bin/etcd", "the stock etcd `binary`")
	flags.StringVar(&cfg.etcdguard, "etcdguard", "", "the etcdguard `binary`; empty: measure stock etcd alone")
	flags.IntVar(&cfg.rounds, "rounds", 5, "rounds; figures to quote need five")
	flags.DurationVar(&cfg.pace.Warm, "warm", time.Second, "load before each counted window")
	flags.DurationVar(&cfg.pace.Window, "window", 4*time.Second, "counted window of each workload")
	flags.BoolVar(&cfg.does.Sealing, "sealing", true, "etcdguard seals every value; false: as far as it is without")
	flags.BoolVar(&cfg.does.Audit, "audit", true, "etcdguard records every request; false: as far as it is without")
	flags.StringVar(&cfg.module, "module", "..", "the main module's `directory`, for the benchmarks of its packages")
	flags.StringVar(&only, "workloads", strings.Join(names(), ","), "which workloads, comma-separated")
	flags.StringVar(&cfg.dir, "dir", "", "`directory` whose disk the servers write to (default: the system's for temporary files)")
	flags.StringVar(&cfg.docs, "docs", "", "`directory` for performance.md and its plots; empty: print the page")
	flags.StringVar(&cfg.json, "json", "", "`file` for the raw rounds")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	var errs []error
	if flags.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q: everything is a flag, see -help", flags.Arg(0)))
	}
	if cfg.rounds < 1 {
		errs = append(errs, errors.New("-rounds must be at least 1"))
	}
	if cfg.pace.Window <= 0 || cfg.pace.Warm < 0 {
		errs = append(errs, errors.New("-window must be above 0 and -warm not below"))
	}
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.Contains(names(), name) {
			errs = append(errs, fmt.Errorf("-workloads: %q is none of %s", name, strings.Join(names(), ", ")))
		}
	}
	for _, m := range packages() {
		if slices.Contains(wanted, m.name) {
			cfg.micros = append(cfg.micros, m)
		}
	}
	cfg.reseal = slices.Contains(wanted, resealName)
	if cfg.reseal && (cfg.etcdguard == "" || !cfg.does.Sealing) {
		cfg.reseal = false
		fmt.Fprintf(stderr, "bench: hint: %s is left out: it needs an etcdguard that seals\n", resealName)
	}
	for _, w := range load.Workloads() {
		if slices.Contains(wanted, w.Name) {
			cfg.workloads = append(cfg.workloads, w)
		}
	}
	return cfg, errors.Join(errs...)
}

// names are what -workloads can name.
func names() (all []string) {
	for _, w := range load.Workloads() {
		all = append(all, w.Name)
	}
	return append(append(all, resealName), microNames()...)
}

// command is what a reader types to repeat the run. Paths lose their
// directories when absolute: they mean nothing elsewhere.
func (c config) command() string {
	path := func(p string) string {
		if filepath.IsAbs(p) {
			return filepath.Base(p)
		}
		return p
	}
	words := []string{"go run . -stock " + path(c.stock)}
	if c.etcdguard != "" {
		words = append(words, "-etcdguard "+path(c.etcdguard))
	}
	words = append(words, fmt.Sprintf("-rounds %d -warm %v -window %v", c.rounds, c.pace.Warm, c.pace.Window))
	if !c.does.Sealing {
		words = append(words, "-sealing=false")
	}
	if !c.does.Audit {
		words = append(words, "-audit=false")
	}
	var chosen []string
	for _, w := range c.workloads {
		chosen = append(chosen, w.Name)
	}
	if c.reseal {
		chosen = append(chosen, resealName)
	}
	for _, m := range c.micros {
		chosen = append(chosen, m.name)
	}
	if len(chosen) < len(names()) {
		words = append(words, "-workloads "+strings.Join(chosen, ","))
	}
	return strings.Join(words, " ")
}

func writeDocs(dir string, figures *report.Run, stderr io.Writer) error {
	files := map[string]string{
		"performance.md":  figures.Markdown(),
		"performance.svg": figures.ThroughputSVG(),
	}
	if len(figures.Contenders) > 2 {
		files["performance-ratio.svg"] = figures.RatioSVG()
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("writing figures: %w", err)
		}
	}
	fmt.Fprintf(stderr, "bench: figures are in %s\n", filepath.Join(dir, "performance.md"))
	return nil
}
