package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func names(list []difference) []string {
	out := []string{}
	for _, d := range list {
		out = append(out, d.test+" "+string(d.ended))
	}
	return out
}

func TestDifferencesStandAtTheLowestLevelThatExplainsThem(t *testing.T) {
	for _, c := range []struct {
		name       string
		stock, got results
		want       []string
	}{
		{"all is well", results{"e2e/A": passed}, results{"e2e/A": passed}, nil},
		{"what stock fails or skips is asked of nobody",
			results{"e2e/A": failed, "e2e/B": skipped, "e2e/B/x": failed}, results{"e2e/A": skipped, "e2e/B": failed, "e2e/B/y": failed}, nil},
		{"a skip where stock passes", results{"e2e/A": passed}, results{"e2e/A": skipped}, []string{"e2e/A skip"}},
		{"a test that was not reached", results{"e2e/A": passed}, results{}, []string{"e2e/A missing"}},
		{"a subtest explains its parents",
			results{"e2e/A": passed, "e2e/A/x": passed, "e2e/A/x/1": passed, "e2e/A/y": passed},
			results{"e2e/A": failed, "e2e/A/x": failed, "e2e/A/x/1": failed, "e2e/A/y": passed}, []string{"e2e/A/x/1 fail"}},
		{"a parent that fails by itself",
			results{"e2e/A": passed, "e2e/A/x": passed}, results{"e2e/A": failed, "e2e/A/x": passed}, []string{"e2e/A fail"}},
		{"a parent that ended before its subtests",
			results{"e2e/A": passed, "e2e/A/x": passed, "e2e/A/y": passed}, results{"e2e/A": failed}, []string{"e2e/A fail"}},
		{"a parent that ended before the subtests of its subtests",
			results{"e2e/A": passed, "e2e/A/x": passed, "e2e/A/x/1": passed, "e2e/A/x/1/a": passed}, results{"e2e/A": failed}, []string{"e2e/A fail"}},
		{"a whole tree that was not reached",
			results{"e2e/A": passed, "e2e/A/x": passed, "e2e/A/x/1": passed}, results{}, []string{"e2e/A missing"}},
		{"a subtest that ended the rest",
			results{"e2e/A": passed, "e2e/A/x": passed, "e2e/A/y": passed}, results{"e2e/A": failed, "e2e/A/x": failed}, []string{"e2e/A/x fail"}},
		{"a subtest that stock does not have", results{"e2e/A": passed}, results{"e2e/A": failed, "e2e/A/new": failed}, []string{"e2e/A/new fail"}},
		{"names that begin alike", results{"e2e/A": passed, "e2e/AB": passed}, results{"e2e/A": failed, "e2e/AB": failed}, []string{"e2e/A fail", "e2e/AB fail"}},
	} {
		if got := names(differences(c.stock, c.got)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOnlyTheListedReasonExcusesADifference(t *testing.T) {
	list := []expectation{{Promise: "1", Reason: "not served", Shows: "unknown service", Tests: []string{"e2e/Lock", "e2e/Old", "e2e/NotRun", "e2e/Other/sub"}}}
	found := []difference{
		{test: "e2e/Lock/put", ended: failed},
		{test: "e2e/Other/sub", ended: failed},
		{test: "e2e/Other/not", ended: failed},
		{test: "e2e/Locksmith", ended: failed},
	}
	says := func(test string) string {
		if test == "e2e/Other/sub" {
			return "panic: something else"
		}
		return "rpc error: unknown service"
	}
	v := judge(found, list, []string{"e2e/Lock", "e2e/Old", "e2e/Other", "e2e/Locksmith"}, says)
	if got, want := names(v.expected), []string{"e2e/Lock/put fail"}; !slices.Equal(got, want) {
		t.Errorf("expected differences: got %q, want %q", got, want)
	}
	if got, want := names(v.unexpected), []string{"e2e/Other/sub fail", "e2e/Other/not fail", "e2e/Locksmith fail"}; !slices.Equal(got, want) {
		t.Errorf("unexpected differences: got %q, want %q", got, want)
	}
	if want := []string{"e2e/Old"}; !slices.Equal(v.stale, want) {
		t.Errorf("stale entries: got %q, want %q", v.stale, want)
	}
}

func TestExpectationsWithoutAReasonAreRefused(t *testing.T) {
	const whole = "- promise: p\n  reason: r\n  shows: s\n  tests: [e2e/A]\n"
	for _, c := range []struct{ text, want string }{
		{whole, ""},
		{whole + whole, "twice"},
		{"- promise: p\n  reason: r\n  tests: [e2e/A]\n", "lacks"},
		{"- promise: p\n  reason: r\n  shows: s\n", "lacks"},
		{whole + "  why: x\n", "not found"},
	} {
		file := filepath.Join(t.TempDir(), "differences.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readExpectations(file)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: got error %v, want one with %q", c.text, err, c.want)
		}
	}
}

// The files that stand beside each other must agree: nothing else would notice a
// test that was renamed with a new version of etcd.
func TestTheFilesAgree(t *testing.T) {
	byPackage := map[string][]string{}
	for _, f := range []family{ofEtcd, ofKubernetes} {
		base, err := readBaseline(f.baseline)
		if err != nil {
			t.Fatal(err)
		}
		list, err := readExpectations(f.differences)
		if err != nil {
			t.Fatal(err)
		}
		for name := range base.Tests {
			if pkg, test, _ := strings.Cut(name, "/"); name == top(name) {
				byPackage[pkg] = append(byPackage[pkg], test)
			}
		}
		for pkg := range f.packages {
			if len(byPackage[pkg]) == 0 {
				t.Errorf("%s has no test of %s", f.baseline, pkg)
			}
		}
		for _, e := range list {
			for _, name := range e.Tests {
				if base.Tests[name] != passed {
					t.Errorf("%s lists %s, which stock does not pass: %q", f.differences, name, base.Tests[name])
				}
			}
		}
		mod, err := os.ReadFile(filepath.Join("..", f.pin, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if pinned := f.module + " " + base.Version; !strings.Contains(string(mod), pinned+"\n") && !strings.Contains(string(mod), pinned+" ") {
			t.Errorf("%s/go.mod does not require %s, of which %s is", f.pin, pinned, f.baseline)
		}
	}
	for name, suite := range suites() {
		for _, p := range suite {
			if _, err := p.of(byPackage[p.pkg]); err != nil {
				t.Errorf("suite %s: %v", name, err)
			}
			if familyOf(p.pkg).name != familyOf(suite[0].pkg).name {
				t.Errorf("suite %s is of more than one family, and a run is of one", name)
			}
		}
	}
	if err := accountForAll(byPackage[e2e]); err != nil {
		t.Error(err)
	}
}
