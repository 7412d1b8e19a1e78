package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	suite    string
	run      *regexp.Regexp
	binary   string
	stock    bool
	unsealed bool
	record   bool
	list     bool
	limit    time.Duration
}

func main() {
	o := options{run: regexp.MustCompile("")}
	flag.StringVar(&o.suite, "suite", "ci", "what to run: "+suiteNames())
	flag.Func("run", "only tests whose name matches this regular expression", func(s string) (err error) {
		o.run, err = regexp.Compile(s)
		return err
	})
	flag.StringVar(&o.binary, "binary", "", "the program under test (default: etcdguard, built from this checkout)")
	flag.BoolVar(&o.stock, "stock", false, "put stock etcd under test")
	flag.BoolVar(&o.unsealed, "unsealed", false, "leave sealing out of the guard's configuration")
	flag.BoolVar(&o.record, "record", false, "with -stock: write the results into baseline.json")
	flag.BoolVar(&o.list, "list", false, "say what would run and what is left out, and why")
	flag.DurationVar(&o.limit, "limit", 6*time.Minute, "how long one test may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "conformance: error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	asked, known := suites()[o.suite]
	switch {
	case !known:
		return fmt.Errorf("-suite %s: there is no such suite; choose one of %s", o.suite, suiteNames())
	case flag.NArg() > 0:
		return fmt.Errorf("%q is not understood; see -help", flag.Arg(0))
	case o.record && (!o.stock || o.binary != ""):
		return errors.New("-record is for stock etcd; give -stock, and no -binary")
	}
	w, err := open(ctx, familyOf(asked[0].pkg))
	if err != nil {
		return err
	}
	defer w.unlock()
	r, err := newRunner(ctx, o, w)
	if err != nil {
		return err
	}
	defer r.log.Close()
	total := tally{name: "total"}
	var tallies []tally
	for _, p := range asked {
		t, err := r.part(ctx, p)
		if err != nil {
			return err
		}
		tallies = append(tallies, t)
		total.add(t)
	}
	if o.list {
		printLeftOut(os.Stdout, r.ofE2E)
		return nil
	}
	printTallies(os.Stdout, append(tallies, total), o.stock)
	if o.record {
		r.base.Version = w.version
		return r.base.write(filepath.Join(w.source, w.baseline))
	}
	if bad := r.problems(total); len(bad) > 0 {
		return fmt.Errorf("%d problems:\n  %s", len(bad), strings.Join(bad, "\n  "))
	}
	return nil
}

// runner runs parts and compares them with the baseline.
type runner struct {
	options
	w        *workshop
	base     *baseline
	expected []expectation
	log      *os.File
	ofE2E    []string // the tests of e2e, once a part of it was chosen
}

func newRunner(ctx context.Context, o options, w *workshop) (*runner, error) {
	r := &runner{options: o, w: w}
	var err error
	if r.base, err = readBaseline(filepath.Join(w.source, w.baseline)); err != nil {
		return nil, err
	}
	underTest := "etcd"
	if !o.stock {
		underTest = "etcdguard"
		if r.expected, err = readExpectations(filepath.Join(w.source, w.differences)); err != nil {
			return nil, err
		}
		r.expected = slices.DeleteFunc(r.expected, func(e expectation) bool { return e.Sealed && o.unsealed })
	}
	if o.binary != "" {
		if underTest, err = filepath.Abs(o.binary); err != nil {
			return nil, err
		}
	}
	// Even for -list: Kubernetes' tests want an etcd before they say their names.
	if err := w.furnish(ctx, underTest, !o.stock && !o.unsealed); err != nil {
		return nil, err
	}
	if r.log, err = os.Create(filepath.Join(w.cache, "output-"+o.suite+".json")); err != nil {
		return nil, err
	}
	if !o.list {
		fmt.Fprintf(os.Stderr, "conformance: %s\n", w.notice)
		fmt.Fprintf(os.Stderr, "conformance: all that the tests print goes to %s\n", r.log.Name())
	}
	return r, nil
}

// part runs the tests of one part, and those that differ unexpectedly a second
// time: the suites have timeouts, which a busy machine misses.
func (r *runner) part(ctx context.Context, p part) (tally, error) {
	tests, x, err := r.choose(ctx, p)
	if err != nil || r.list || len(tests) == 0 {
		return tally{name: p.name}, err
	}
	fmt.Printf("\n%s: %d tests\n", p.name, len(tests))
	ran := qualified(p.pkg, tests)
	j, err := x.run(ctx, tests)
	if err != nil {
		return tally{}, err
	}
	again := r.suspects(j, ran)
	if len(again) > 0 {
		fmt.Printf("  once more, in case they were disturbed: %s\n", strings.Join(again, " "))
		second, err := x.run(ctx, again)
		if err != nil {
			return tally{}, err
		}
		j.replace(second)
	}
	if r.record {
		r.base.replace(ran, j.results)
	}
	t := tally{name: p.name, ran: ran, stock: r.base.Tests.of(ran), got: j.results, verdict: r.judge(j, ran)}
	for _, name := range tops(t.verdict.unexpected) {
		fmt.Printf("\n--- %s, twice; the end of what it said ---\n%s\n", name, excerpt(j.says(name), 15))
	}
	for _, name := range qualified(p.pkg, again) {
		if t.got[name] == passed {
			t.secondTry = append(t.secondTry, name)
		}
	}
	return t, nil
}

func (r *runner) judge(j *journal, ran []string) verdict {
	return judge(differences(r.base.Tests.of(ran), j.results), r.expected, ran, j.says)
}

// choose compiles the package and picks the part's tests.
func (r *runner) choose(ctx context.Context, p part) ([]string, *execution, error) {
	binary, err := r.w.compile(ctx, p.pkg)
	if err != nil {
		return nil, nil, err
	}
	x := &execution{w: r.w, pkg: p.pkg, binary: binary, env: r.w.environment(!r.stock), limit: r.limit, log: r.log,
		ended: func(test string, s status, took time.Duration) {
			fmt.Printf("  %-4s %s (%.1fs)\n", s, test, took.Seconds())
		}}
	all, err := x.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	if p.pkg == e2e {
		if err := accountForAll(all); err != nil {
			return nil, nil, err
		}
		r.ofE2E = all
	}
	tests, err := p.of(all)
	if err != nil {
		return nil, nil, err
	}
	tests = slices.DeleteFunc(tests, func(t string) bool { return !r.run.MatchString(t) })
	if r.list {
		printPart(os.Stdout, p, tests)
	}
	return tests, x, nil
}

// suspects are the tests with differences that nobody expects; while recording,
// those that failed.
func (r *runner) suspects(j *journal, ran []string) []string {
	var again []string
	add := func(name string) {
		if test := strings.TrimPrefix(top(name), j.pkg+"/"); !slices.Contains(again, test) {
			again = append(again, test)
		}
	}
	if r.record {
		for _, name := range ran {
			if j.results[name] == failed {
				add(name)
			}
		}
		return again
	}
	for _, d := range r.judge(j, ran).unexpected {
		add(d.test)
	}
	return again
}

// problems puts into words what makes the run a failure.
func (r *runner) problems(t tally) []string {
	var bad []string
	if r.base.Version != r.w.version {
		bad = append(bad, fmt.Sprintf("%s is of %q and the suites are %s; run it with -stock -record", r.w.baseline, r.base.Version, r.w.version))
	}
	if len(t.ran) == 0 {
		bad = append(bad, "not one test ran; correct -run")
	}
	for _, d := range t.verdict.unexpected {
		bad = append(bad, fmt.Sprintf("%s: stock passes it, here: %s", d.test, d.ended))
	}
	for _, name := range t.verdict.stale {
		bad = append(bad, fmt.Sprintf("%s: listed in %s, and does not differ; remove it there", name, r.w.differences))
	}
	for _, name := range t.ran {
		if r.base.Tests[name] == "" {
			bad = append(bad, fmt.Sprintf("%s: not in %s; run it with -stock -record", name, r.w.baseline))
		}
	}
	return bad
}

// tops are the tests that the differences are in, each once.
func tops(list []difference) []string {
	var names []string
	for _, d := range list {
		if name := top(d.test); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func qualified(pkg string, tests []string) []string {
	names := make([]string, len(tests))
	for i, t := range tests {
		names[i] = pkg + "/" + t
	}
	return names
}
