package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/internal/strictyaml"
)

const head = "apiVersion: etcdguard.dev/v1\nkind: Policy\n"

// TestMistakes has one mistake per file; each is reported alone, at its line and
// field, with a fix.
func TestMistakes(t *testing.T) {
	const callers = head + "callers:\n  - {name: app, match: {cn: [app]}}\n" // 4 lines
	caller := func(c string) string { return head + "callers:\n  - " + c + "\nrules: []\n" }
	rule := func(r string) string { return callers + "rules:\n  - " + r + "\n" }
	for _, c := range []struct {
		name, file string
		line       int
		field      string
		message    string // part of it
		fix        string // part of it
	}{
		{"version", strings.Replace(caller("{name: a, match: {cn: [a]}}"), "/v1", "/v2", 1), 1, "apiVersion", "not a version", "etcdguard.dev/v1"},
		{"kind", strings.Replace(caller("{name: a, match: {cn: [a]}}"), "Policy", "Guard", 1), 2, "kind", "not a policy", "kind: Policy"},
		{"mode", "mode: warn\n" + caller("{name: a, match: {cn: [a]}}"), 1, "mode", `"warn" is not a mode`, "enforce or observe"},
		{"mode of YAML 1.1", "mode: off\n" + caller("{name: a, match: {cn: [a]}}"), 1, "mode", "is not a mode", "enforce"},
		{"unknown field", caller("{name: a, match: {cm: [a]}}"), 4, "callers[0].match.cm", "not a field", "did you mean cn?"},
		{"no rules", head + "callers: []\n", 1, "rules", "is missing", "add it"},
		{"unmatchable", caller("{name: a, match: {}}"), 4, "callers[0].match", "nobody in particular", "anyCertificate"},
		{"empty list", caller("{name: a, match: {cn: [a], o: []}}"), 4, "callers[0].match.o", "empty list", "remove the field"},
		{"empty cn", caller(`{name: a, match: {cn: [""]}}`), 4, "callers[0].match.cn[0]", "matches no certificate", "as it stands"},
		{"star", caller(`{name: a, match: {o: ["*"]}}`), 4, "callers[0].match.o[0]", "compared whole", "anyCertificate"},
		{"anonymous with a name", caller("{name: a, match: {anonymous: true, cn: [a]}}"), 4, "callers[0].match", "nothing else to match", "two callers"},
		{"any with a name", caller("{name: a, match: {anyCertificate: true, cn: [a]}}"), 4, "callers[0].match", "pointless", "remove"},
		{"uri", caller("{name: a, match: {uri: [example.org/a]}}"), 4, "callers[0].match.uri[0]", "not a URI", "spiffe://"},
		{"ip", caller("{name: a, match: {ip: [10.0.0.0/8]}}"), 4, "callers[0].match.ip[0]", "can't be read", "correct"},
		{"ip with a zone", caller("{name: a, match: {ip: ['fe80::1%eth0']}}"), 4, "callers[0].match.ip[0]", "no zone", "%"},
		{"key hash", caller("{name: a, match: {publicKeySHA256: ['ab:cd']}}"), 4, "callers[0].match.publicKeySHA256[0]", "not a SHA-256", "openssl"},
		{"key hash of another length", caller("{name: a, match: {publicKeySHA256: [abcd]}}"), 4, "callers[0].match.publicKeySHA256[0]", "not a SHA-256", "64 digits"},
		{"limit 0", caller("{name: a, match: {cn: [a]}, limits: {watchers: 0}}"), 4, "callers[0].limits.watchers", "not a limit", "remove the field"},
		{"limit below 0", caller("{name: a, match: {cn: [a]}, limits: {valueBytes: -1}}"), 4, "callers[0].limits.valueBytes", "not a limit", "above 0"},
		{"name", caller("{name: a b, match: {cn: [a]}}"), 4, "callers[0].name", "not a name", "letters"},
		{"reserved name", caller("{name: unmatched, match: {cn: [a]}}"), 4, "callers[0].name", "no entry matches", "another"},
		{"anonymous as the name of someone", caller("{name: anonymous, match: {cn: [a]}}"), 4, "callers[0].name", "no entry matches", "another"},
		{"two callers of one name", caller("{name: a, match: {cn: [a]}}\n  - {name: a, match: {cn: [b]}}"), 5, "callers[1].name", "line 4", "another"},

		{"unknown caller", rule("{name: r, callers: [ap], role: backup}"), 6, "rules[0].callers[0]", `no caller has the name "ap"`, "did you mean app?"},
		{"caller twice", rule("{name: r, callers: [app, app], role: backup}"), 6, "rules[0].callers[1]", "twice", "remove"},
		{"no callers", rule("{name: r, callers: [], role: backup}"), 6, "rules[0].callers", "names nobody", "list"},
		{"two rules of one name", rule("{name: r, callers: [app], role: backup}\n  - {name: r, callers: [app], role: monitor}"), 7, "rules[1].name", "line 6", "another"},
		{"nothing granted", rule("{name: r, callers: [app]}"), 6, "rules[0]", "grants nothing", "role or actions"},
		{"role and actions", rule("{name: r, callers: [app], role: backup, actions: [Lease.LeaseGrant]}"), 6, "rules[0].actions", "not both", "two rules"},
		{"unknown role", rule("{name: r, callers: [app], role: kube-apisrver}"), 6, "rules[0].role", "not a role", "did you mean kube-apiserver?"},
		{"keys for a role that has its own", rule("{name: r, callers: [app], role: admin, keys: [{prefix: a}]}"), 6, "rules[0].keys", "its own keys", "actions in place"},
		{"unknown action", rule("{name: r, callers: [app], actions: [KV.Get], keys: [{all: true}]}"), 6, "rules[0].actions[0]", `"KV.Get" is not an action`, "KV.Put"},
		{"action in another case", rule("{name: r, callers: [app], actions: [kv.range], keys: [{all: true}]}"), 6, "rules[0].actions[0]", "not an action", "did you mean KV.Range?"},
		{"no keys", rule("{name: r, callers: [app], actions: [KV.Range]}"), 6, "rules[0].keys", "is missing", "{all: true}"},
		{"keys without use", rule("{name: r, callers: [app], actions: ['Lease.*'], keys: [{prefix: a}]}"), 6, "rules[0].keys", "none of the actions", "limit nothing"},
		{"empty key", rule(`{name: r, callers: [app], actions: [KV.Range], keys: [{prefix: ""}]}`), 6, "rules[0].keys[0].prefix", "empty", "{all: true}"},
		{"two forms", rule("{name: r, callers: [app], actions: [KV.Range], keys: [{prefix: a, key: b}]}"), 6, "rules[0].keys[0]", "exactly one", "one of"},
		{"no form", rule("{name: r, callers: [app], actions: [KV.Range], keys: [{all: false}]}"), 6, "rules[0].keys[0]", "exactly one", "one of"},
		{"to alone", rule("{name: r, callers: [app], actions: [KV.Range], keys: [{to: b}]}"), 6, "rules[0].keys[0].to", "no from", "add from"},
		{"backwards", rule("{name: r, callers: [app], actions: [KV.Range], keys: [{from: b, to: a}]}"), 6, "rules[0].keys[0].to", "no key between", "swap"},
		{"etcd's spelling of no end", rule(`{name: r, callers: [app], actions: [KV.Range], keys: [{from: b, to: "\0"}]}`), 6, "rules[0].keys[0].to", "no key between", "leave out to"},
		{"reserved", rule(`{name: r, callers: [app], actions: [KV.Range], keys: [{key: "\0etcdguard/ring"}]}`), 6, "rules[0].keys[0].key", "reserved", "another byte"},
		{"from the reserved", rule(`{name: r, callers: [app], actions: [KV.Range], keys: [{from: "\0"}]}`), 6, "rules[0].keys[0].from", "reserved", "another byte"},
		{"key as a number", rule(`{name: r, callers: [app], actions: [KV.Range], keys: [{key: 1}]}`), 6, "rules[0].keys[0].key", "reads as a number", "quotes"},
		{"mode of a rule", rule("{name: r, callers: [app], role: backup, mode: Observe}"), 6, "rules[0].mode", `"Observe"`, "observe"},
		{"age without compaction", rule("{name: r, callers: [app], role: backup, compactionAge: 5m}"), 6, "rules[0].compactionAge", "does not allow compaction", "KV.Compact"},
		{"negative age", rule("{name: r, callers: [app], role: kube-apiserver, compactionAge: -5m}"), 6, "rules[0].compactionAge", "negative", "4m30s"},
		{"age without unit", rule("{name: r, callers: [app], role: kube-apiserver, compactionAge: 300}"), 6, "rules[0].compactionAge", "duration", "unit"},
		{"not YAML", head + "callers: [\n", 3, "", "not YAML", "brackets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("p.yaml", []byte(c.file))
			problems := Problems(err)
			if len(problems) != 1 {
				t.Fatalf("%d problems, want 1:\n%v\nin:\n%s", len(problems), err, c.file)
			}
			p := problems[0]
			if p.File != "p.yaml" || p.Line != c.line || p.Field != c.field || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Fix, c.fix) {
				t.Errorf("got  %v\nwant line %d, field %q, message with %q, fix with %q", p, c.line, c.field, c.message, c.fix)
			}
		})
	}
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	const file = `apiVersion: etcdguard.dev/v1
kind: Policy
callers:
  - name: a
    match: {cn: a}
  - name: b
    match: {}
rules:
  - name: r
    callers: [b, c]
    actions: [KV.Rnge]
    keys: [{prefix: a, prefx: b}]
    mode: obs
    compactionAge: 5
`
	_, err := Parse("p.yaml", []byte(file))
	var got []string
	for _, p := range Problems(err) {
		got = append(got, fmt.Sprintf("%d %s", p.Line, p.Field))
	}
	want := []string{
		"5 callers[0].match.cn", "7 callers[1].match", "10 rules[0].callers[1]", "11 rules[0].actions[0]",
		"12 rules[0].keys[0].prefx", "13 rules[0].mode", "14 rules[0].compactionAge",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if _, err := Load(file); !errors.Is(err, os.ErrNotExist) || Problems(err) != nil {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(file, []byte(head+"callers: []\nrules: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file)
	var problems strictyaml.Problems
	if !errors.As(err, &problems) || problems[0].File != file || problems[0].Line != 4 {
		t.Errorf("%v", err)
	}
}

// TestManyRulesLoad bounds nothing by the clock; it shows the size that is
// promised, and that the last rule is as good as the first.
func TestManyRulesLoad(t *testing.T) {
	const n = 100_000
	began := time.Now()
	p, err := Parse("policy.yaml", manyRules(n))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Subject(app)
	t.Logf("%d rules loaded and compiled in %v", n, time.Since(began))
	for i := range n {
		want := fmt.Sprintf("tenant-%d", i)
		if d := s.Decide(watchAction, key(fmt.Sprintf("/registry/tenants/%d/x", i))); d != allowed(want) {
			t.Fatalf("%s: %+v", want, d)
		}
	}
	if d := s.Decide(watchAction, prefix("/registry/tenants/")); d != denied {
		t.Errorf("all tenants together: %+v", d)
	}
}

func FuzzParse(f *testing.F) {
	seeds := []string{head + "callers: []\nrules: []\n", string(manyRules(3)), docExample(f),
		head + "callers: [{name: a, match: {cn: [a], ip: ['::1']}, limits: {watchers: 3}}]\nrules: [{name: r, callers: [a], role: kube-apiserver, keys: [{from: a, to: b}], mode: observe, compactionAge: 1m}]\n"}
	for _, s := range seeds {
		if _, err := Parse("seed", []byte(s)); err != nil {
			f.Fatalf("a seed is not valid: %v", err)
		}
		f.Add([]byte(s))
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("rules: !!binary x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("f", data)
		if err != nil {
			if problems := Problems(err); len(problems) == 0 || p != nil {
				t.Fatalf("an error without problems, or next to a policy: %v", err)
			}
			for _, problem := range Problems(err) {
				if problem.File != "f" || problem.Message == "" || problem.Fix == "" || strings.ContainsAny(problem.String(), "\n") {
					t.Fatalf("a problem without message, fix or a line of its own: %q", problem)
				}
			}
			return
		}
		// Whatever it says: nobody reaches the reserved keys, and a review is possible.
		for _, c := range []Caller{{}, {CN: "a"}, {CN: "app"}} {
			if d := p.Subject(c).Decide(watchAction, tail("\x00")); d.Allowed {
				t.Fatalf("reserved keys: %+v", d)
			}
			p.Explain(c, watchAction, tail("a"))
		}
		p.Review()
	})
}
