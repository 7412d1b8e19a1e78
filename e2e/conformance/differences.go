package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// baseline is what stock etcd made of the suites of one family.
type baseline struct {
	// Version is that of the suites.
	Version string  `json:"version"`
	Tests   results `json:"tests"`
}

func readBaseline(file string) (*baseline, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return &baseline{Tests: results{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the baseline: %w", err)
	}
	b := &baseline{}
	if err := json.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("reading the baseline %s: %w; make it again with -stock -record", file, err)
	}
	return b, nil
}

func (b *baseline) write(file string) error {
	raw, err := json.MarshalIndent(b, "", "  ") // sorts the tests
	if err != nil {
		return fmt.Errorf("writing the baseline: %w", err)
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}

// expectation is a difference on purpose.
type expectation struct {
	// Promise is the promise of the design that demands it.
	Promise string `yaml:"promise"`
	Reason  string `yaml:"reason"`
	// Shows is a text that each test prints when it differs for this reason and no other.
	Shows string   `yaml:"shows"`
	Tests []string `yaml:"tests"`
	// Sealed tells that it differs in a cluster that seals, and in no other.
	Sealed bool `yaml:"sealed"`
}

func readExpectations(file string) ([]expectation, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the expected differences: %w", err)
	}
	var list []expectation
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("reading the expected differences %s: %w", file, err)
	}
	seen := map[string]bool{}
	for i, e := range list {
		if e.Promise == "" || e.Reason == "" || e.Shows == "" || len(e.Tests) == 0 {
			return nil, fmt.Errorf("%s: entry %d lacks promise, reason, shows or tests; say all four", file, i+1)
		}
		for _, t := range e.Tests {
			if seen[t] {
				return nil, fmt.Errorf("%s: %s is listed twice; keep one", file, t)
			}
			seen[t] = true
		}
	}
	return list, nil
}

// difference is a test that stock passes and the program under test does not.
type difference struct {
	test  string
	ended status
	// why is the expectation that it meets, nil for none.
	why *expectation
}

// differences are where got is worse than stock, each at the lowest level that
// explains it. A test that stock fails or skips is asked of nobody.
func differences(stock, got results) []difference {
	worse := map[string]status{}
	for name, was := range stock {
		if is, ran := got[name]; was == passed && is != passed {
			if !ran {
				is = missing
			}
			worse[name] = is
		}
	}
	for name, is := range got {
		if _, known := stock[name]; !known && is == failed && stockPassedAbove(stock, name) {
			worse[name] = failed
		}
	}
	var list []difference
	for name, is := range worse {
		if !explained(worse, name) {
			list = append(list, difference{test: name, ended: is})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].test < list[j].test })
	return list
}

// explained reports whether another difference tells more: one below it, or, if it
// was not reached, what ended its parent.
func explained(worse map[string]status, name string) bool {
	if _, above := worse[parent(name)]; worse[name] == missing && above {
		return true
	}
	for other, is := range worse {
		if below(other, name) && is != missing {
			return true
		}
	}
	return false
}

func stockPassedAbove(stock results, name string) bool {
	for p := parent(name); p != ""; p = parent(p) {
		if s, known := stock[p]; known {
			return s == passed
		}
	}
	return true
}

// verdict is the comparison of a run with the baseline and the expectations.
type verdict struct {
	expected, unexpected []difference
	// stale are entries whose test does not differ any more.
	stale []string
}

// judge compares. Only tests that ran are judged, and says gives what one printed.
func judge(found []difference, list []expectation, ran []string, says func(string) string) verdict {
	var v verdict
	met := map[string]bool{}
	for _, d := range found {
		for i, e := range list {
			at := slices.IndexFunc(e.Tests, func(t string) bool { return within(d.test, t) })
			if at < 0 {
				continue
			}
			met[e.Tests[at]] = true
			speaker := d.test
			if d.ended == missing {
				speaker = top(d.test)
			}
			if strings.Contains(says(speaker), e.Shows) {
				d.why = &list[i]
			}
		}
		if d.why != nil {
			v.expected = append(v.expected, d)
		} else {
			v.unexpected = append(v.unexpected, d)
		}
	}
	for _, e := range list {
		for _, t := range e.Tests {
			if !met[t] && slices.Contains(ran, top(t)) {
				v.stale = append(v.stale, t)
			}
		}
	}
	return v
}

// replace takes over the results of the tests that ran.
func (b *baseline) replace(ran []string, r results) {
	for name := range b.Tests.of(ran) {
		delete(b.Tests, name)
	}
	for name, s := range r {
		b.Tests[name] = s
	}
}
