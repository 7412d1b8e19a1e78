package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

const explained = `callers:
  - {name: team, match: {cn: [ann], o: [team]}}
  - {name: all, match: {o: [team]}}
rules:
  - {name: left, callers: [team], actions: [KV.Range], keys: [{from: a, to: c}]}
  - {name: right, callers: [all], actions: [KV.Range], keys: [{from: c, to: e}]}
  - {name: wide, callers: [all], actions: [KV.Range], keys: [{from: a, to: g}], mode: observe}
  - {name: snap, callers: [all], role: backup}
`

func TestExplain(t *testing.T) {
	ann := Caller{CN: "ann", O: []string{"team"}}
	for _, c := range []struct {
		name   string
		caller Caller
		action etcdapi.Action
		keys   etcdapi.Range
		want   Decision
		line   int
		reason string
		others string // "rule: why" joined
	}{
		{"one rule", ann, etcdapi.KVRange, key("b"), allowed("left"), 7, "rule left allows it on all of these keys",
			"right: grants it on other keys|wide: covers these keys too, and only observes|snap: does not grant KV.Range"},
		{"two rules", ann, etcdapi.KVRange, span("b", "d"), allowed("left"), 7, "and other rules on the rest",
			"right: covers some of these keys|wide: covers these keys too, and only observes|snap: does not grant KV.Range"},
		{"observed", ann, etcdapi.KVRange, key("f"), observed("wide"), 9, "rule wide observes",
			"left: grants it on other keys|right: grants it on other keys|snap: does not grant KV.Range"},
		{"partly uncovered", ann, etcdapi.KVRange, span("b", "z"), denied, 0, `from "g" on none does`,
			"left: covers some of these keys|right: covers some of these keys|wide: covers some of these keys, and only observes|snap: does not grant KV.Range"},
		{"no keys", ann, etcdapi.MaintenanceSnapshot, etcdapi.Range{}, allowed("snap"), 10, "rule snap allows it",
			"left: does not grant Maintenance.Snapshot|right: does not grant Maintenance.Snapshot|wide: does not grant Maintenance.Snapshot"},
		{"unmatched", Caller{CN: "ann"}, etcdapi.KVRange, key("b"), denied, 0, "no caller entry matches", ""},
		{"reserved", ann, etcdapi.KVRange, key("\x00a"), denied, 0, "reserved", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parsedFile(t, explained)
			e := p.Explain(c.caller, c.action, c.keys)
			got := Decision{Allowed: e.Allowed, Observed: e.Observed, Rule: e.Rule}
			if got != c.want || got != p.Subject(c.caller).Decide(c.action, c.keys) || e.Line != c.line || !strings.Contains(e.Reason, c.reason) {
				t.Errorf("%+v", e)
			}
			var others []string
			for _, o := range e.Others {
				others = append(others, o.Rule+": "+o.Reason)
			}
			if c.others != "-" && strings.Join(others, "|") != c.others {
				t.Errorf("others:\n%s\nwant\n%s", strings.Join(others, "\n"), strings.ReplaceAll(c.others, "|", "\n"))
			}
			if (e.Suggestion == "") != (e.Allowed && !e.Observed) {
				t.Errorf("suggestion %q for %+v", e.Suggestion, got)
			}
		})
	}
	near := parsedFile(t, explained).Explain(Caller{CN: "ann"}, etcdapi.KVRange, key("b")).NearMisses
	if len(near) != 1 || !strings.Contains(near[0], "caller team (line 4): o does not hold") {
		t.Errorf("near misses: %q", near)
	}
}

func TestExplainStaysShort(t *testing.T) {
	p, err := Parse("policy.yaml", manyRules(1000))
	if err != nil {
		t.Fatal(err)
	}
	e := p.Explain(app, etcdapi.KVRange, key("/x"))
	if len(e.Others) != maxOthers || e.OtherRules != 1000 {
		t.Errorf("%d of %d", len(e.Others), e.OtherRules)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string // in order; each a part of one warning
	}{
		{"nothing to say", "callers: [{name: a, match: {cn: [a]}}]\nrules: [{name: r, callers: [a], actions: [KV.Range], keys: [{prefix: /a/}]}]", nil},
		{"no rules", "callers: [{name: a, match: {cn: [a]}}]\nrules: []", []string{"every request is denied", "caller a: no rule names it"}},
		{"observing", "mode: observe\ncallers: []\nrules: []", []string{"nothing is denied"}},
		{"a star", "callers: [{name: a, match: {cn: ['*.example.org']}}]\nrules: [{name: r, callers: [a], role: monitor}]", []string{"compared as it stands"}},
		{"a folder without its slash", "callers: [{name: a, match: {cn: [a]}}]\nrules: [{name: r, callers: [a], actions: [KV.Range], keys: [{prefix: /team-a}]}]",
			[]string{`prefix "/team-a" also holds "/team-ax"`}},
		{"a snapshot", "callers: [{name: a, match: {cn: [a]}}]\nrules: [{name: r, callers: [a], role: backup}]", []string{"may take snapshots"}},
		{"everything", "callers: [{name: a, match: {cn: [a]}}]\nrules: [{name: r, callers: [a], role: admin}]", []string{"may do everything"}},
		{"all keys", "callers: [{name: a, match: {cn: [a]}}]\nrules: [{name: r, callers: [a], actions: [KV.Range, KV.Txn], keys: [{all: true}]}]", []string{"may read every key", "may write every key"}},
		{"members and users", "callers: [{name: a, match: {cn: [a]}}]\nrules: [{name: r, callers: [a], actions: [Cluster.MemberAdd, Auth.UserAdd, KV.Compact]}]",
			[]string{"may change the members", "users and roles", "up to the newest revision"}},
		{"anybody", "callers: [{name: a, match: {anyCertificate: true}}, {name: b, match: {anonymous: true}}]\nrules: [{name: r, callers: [a, b], actions: [Maintenance.Status]}]",
			[]string{"every holder of a certificate", "without a certificate"}},
		{"probes for anybody are fine", "callers: [{name: b, match: {anonymous: true}}]\nrules: [{name: r, callers: [b], actions: [HTTP.Health, 'Health.*']}]", nil},
		{"shadowed", `callers: [{name: a, match: {cn: [a]}}, {name: b, match: {cn: [b]}}]
rules:
  - {name: wide, callers: [a], actions: [KV.Range], keys: [{from: a, to: c}]}
  - {name: wide2, callers: [a], actions: [KV.Range], keys: [{from: c, to: f}]}
  - {name: in-one, callers: [a], actions: [KV.Range], keys: [{from: a, to: b}]}
  - {name: in-both, callers: [a], actions: [KV.Range], keys: [{from: b, to: e}]}
  - {name: implied, callers: [a], actions: [KV.Txn:Range], keys: [{key: b}]}
  - {name: other-caller, callers: [a, b], actions: [KV.Range], keys: [{from: b, to: e}]}
  - {name: more, callers: [a], actions: [KV.Range, KV.Put], keys: [{key: b}]}
  - {name: beyond, callers: [a], actions: [KV.Range], keys: [{from: e, to: g}]}
  - {name: watch-only, callers: [a], actions: [KV.Range], keys: [{from: b, to: d}], mode: observe}
  - {name: watch-more, callers: [a], actions: [KV.Range], keys: [{from: b, to: h}], mode: observe}
`, []string{"in-one: changes nothing", "in-both: changes nothing", "implied: changes nothing", "watch-only: changes nothing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, w := range parsedFile(t, c.file).Review().Warnings {
				got = append(got, fmt.Sprintf("%d: %s", w.Line, w.Message))
			}
			if len(got) != len(c.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			for i := range got {
				if !strings.Contains(got[i], c.want[i]) {
					t.Errorf("got %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

func TestReviewShowsWhatCallersMay(t *testing.T) {
	r := parsedFile(t, explained).Review()
	if r.Rules != 4 || len(r.Callers) != 2 || !r.Enforces || len(r.Digest) != 64 {
		t.Errorf("%+v", r)
	}
	all := r.Callers[1]
	want := []GrantReview{
		{Rule: "right", Actions: "KV.Range", Keys: `from "c" to "e"`},
		{Rule: "wide", Actions: "KV.Range", Keys: `from "a" to "g"`, Observes: true},
		{Rule: "snap", Actions: "role backup"},
	}
	if all.Name != "all" || !slices.Equal(all.Grants, want) {
		t.Errorf("%+v", all)
	}
}

func TestActionSetsReadWell(t *testing.T) {
	for want, patterns := range map[string][]string{
		"*": {"*"}, "KV.*": {"KV.*"}, "KV.Range": {"KV.Range"}, "KV.Txn:Put": {"KV.Txn:Put"},
		"KV.Range, KV.Put, Lease.*": {"Lease.*", "KV.Put", "KV.Range"},
		"Maintenance.Alarm:Get":     {"Maintenance.Alarm:Get"},
	} {
		var s actionSet
		for _, p := range patterns {
			for _, a := range etcdapi.MatchActions(p) {
				s.add(a)
			}
		}
		if got := s.withImplied().String(); got != want {
			t.Errorf("%v is shown as %q", patterns, got)
		}
	}
}
