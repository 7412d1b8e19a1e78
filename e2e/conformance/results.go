package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// status is how a test ended.
type status string

const (
	passed  status = "pass"
	failed  status = "fail"
	skipped status = "skip"
	missing status = "missing" // was not reached
)

// results are the ends of tests and subtests by their names, which begin with the
// package: common/TestKVPut/NoTLS.
type results map[string]status

// top is the test that the named one, which may be a subtest, belongs to.
func top(name string) string {
	pkg, test, _ := strings.Cut(name, "/")
	test, _, _ = strings.Cut(test, "/")
	return pkg + "/" + test
}

// parent is the name one level up, "" for a test.
func parent(name string) string {
	if name == top(name) {
		return ""
	}
	return name[:strings.LastIndexByte(name, '/')]
}

func below(name, ancestor string) bool { return strings.HasPrefix(name, ancestor+"/") }

// within reports whether name is ancestor or below it.
func within(name, ancestor string) bool { return name == ancestor || below(name, ancestor) }

// of keeps the results of the tests in the list, subtests included.
func (r results) of(tests []string) results {
	listed := map[string]bool{}
	for _, t := range tests {
		listed[t] = true
	}
	kept := results{}
	for name, s := range r {
		if listed[top(name)] {
			kept[name] = s
		}
	}
	return kept
}

// count counts tests, or tests and subtests, that ended so.
func (r results) count(s status, subtests bool) (n int) {
	for name, is := range r {
		if is == s && (subtests || name == top(name)) {
			n++
		}
	}
	return n
}

// event is a line of test2json.
type event struct {
	Action  string
	Test    string
	Output  string
	Elapsed float64
}

// journal collects what a test binary says.
type journal struct {
	pkg     string
	results results
	output  map[string]*strings.Builder // by test, without its subtests
	elapsed map[string]time.Duration
	done    func(test string) // called when a test, not a subtest, has ended
	running string            // the test that has begun and not ended
	began   func(test string)
}

func newJournal(pkg string) *journal {
	return &journal{pkg: pkg, results: results{}, output: map[string]*strings.Builder{}, elapsed: map[string]time.Duration{}}
}

// fail ends a test that did not end by itself.
func (j *journal) fail(name, why string) {
	test := strings.TrimPrefix(name, j.pkg+"/")
	j.note(event{Test: test, Output: why})
	j.results[name] = failed
}

func (j *journal) note(e event) {
	name := j.pkg + "/" + e.Test
	if j.output[name] == nil {
		j.output[name] = &strings.Builder{}
	}
	j.output[name].WriteString(e.Output)
}

// read takes events until the stream ends.
func (j *journal) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20) // members' logs pass through, in long lines
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("reading test2json: %w", err)
		}
		if e.Test != "" {
			j.take(e)
		}
	}
	return lines.Err()
}

func (j *journal) take(e event) {
	name := j.pkg + "/" + e.Test
	isTop := name == top(name)
	switch e.Action {
	case "run":
		if isTop {
			j.running = name
			j.began(name)
		}
	case "output":
		j.note(e)
	case "pass", "fail", "skip":
		j.results[name] = status(e.Action)
		j.elapsed[name] = time.Duration(e.Elapsed * float64(time.Second))
		if isTop {
			j.running = ""
			j.done(name)
		}
	}
}

// says is all that the test and its subtests printed.
func (j *journal) says(test string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(j.output)) {
		if within(name, test) {
			b.WriteString(j.output[name].String())
		}
	}
	return b.String()
}

// forget removes what is known of a test, so that it can be run again.
func (j *journal) forget(test string) {
	for name := range j.results {
		if within(name, test) {
			delete(j.results, name)
		}
	}
	for name := range j.output {
		if within(name, test) {
			delete(j.output, name)
		}
	}
}

// replace takes over what another journal has, test by test.
func (j *journal) replace(k *journal) {
	for name := range k.results {
		if name == top(name) {
			j.forget(name)
		}
	}
	for name, s := range k.results {
		j.results[name] = s
	}
	for name, out := range k.output {
		j.output[name] = out
	}
}
