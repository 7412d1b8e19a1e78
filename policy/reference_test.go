package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// naive is a second opinion that shares no code with the policy: it walks through
// every key of a universe in which nothing changes between two keys.
type naive struct {
	observes bool
	rules    []naiveRule
}

type naiveRule struct {
	name     string
	callers  []string
	actions  []string
	covers   []func(string) bool
	observes bool
	yaml     string
}

// names is every key of up to three of the letters a to d: what rules and requests
// speak of.
var names = words("abcd")

// universe has a key in every stretch between two places where a rule can begin or
// end: after the prefix "bad" comes "bae", after the key "bad" comes "bad\x00".
var universe = func() (keys []string) {
	for _, k := range words("abcde") {
		keys = append(keys, k, k+"\x00")
	}
	return keys
}()

func words(letters string) (keys []string) {
	for _, a := range letters {
		keys = append(keys, string(a))
		for _, b := range letters {
			keys = append(keys, string(a)+string(b))
			for _, c := range letters {
				keys = append(keys, string(a)+string(b)+string(c))
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// brings says by hand, from the documentation, which granted actions bring which.
var brings = map[string][]string{
	"KV.Range":           {"KV.Range"},
	"KV.RangeStream":     {"KV.RangeStream"},
	"KV.Put":             {"KV.Put"},
	"KV.DeleteRange":     {"KV.DeleteRange"},
	"KV.Txn:Compare":     {"KV.Range", "KV.Txn:Compare"},
	"KV.Txn:Range":       {"KV.Range", "KV.Txn:Range"},
	"KV.Txn:Put":         {"KV.Put", "KV.Txn:Put"},
	"KV.Txn:DeleteRange": {"KV.DeleteRange", "KV.Txn:DeleteRange"},
	"Watch.Watch":        {"Watch.Watch"},
	"KV.Txn": {"KV.Range", "KV.Put", "KV.DeleteRange", "KV.Txn:Compare", "KV.Txn:Range",
		"KV.Txn:Put", "KV.Txn:DeleteRange"},
	"Lease.LeaseGrant": {"Lease.LeaseGrant"},
}

func (n naive) decide(caller string, a etcdapi.Action, r etcdapi.Range) Decision {
	var granting []string // the rules that grant the action to the caller
	byName := map[string]naiveRule{}
	for _, rule := range n.rules {
		grants := slices.ContainsFunc(brings[a.String()], func(b string) bool { return slices.Contains(rule.actions, b) })
		if grants && slices.Contains(rule.callers, caller) {
			granting = append(granting, rule.name)
			byName[rule.name] = rule
		}
	}
	holder := func(k string, observing bool) string {
		for _, name := range granting {
			rule := byName[name]
			if rule.observes == observing && (!a.Keyed() || slices.ContainsFunc(rule.covers, func(c func(string) bool) bool { return c(k) })) {
				return name
			}
		}
		return ""
	}
	keys := []string{""}
	if a.Keyed() {
		keys = reached(r)
	}
	d := Decision{Allowed: true, Rule: holder(keys[0], false)}
	for _, k := range keys {
		if holder(k, false) != "" {
			continue
		}
		observer := holder(k, true)
		if observer == "" {
			return Decision{Allowed: n.observes, Observed: n.observes}
		}
		if !d.Observed {
			d = Decision{Allowed: true, Observed: true, Rule: observer}
		}
	}
	return d
}

// reached is the keys of r, in order; an empty range is judged at its first key.
func reached(r etcdapi.Range) []string {
	begin := string(r.Begin)
	keys := []string{begin}
	for _, k := range universe {
		inside := k > begin && (r.Kind == etcdapi.Tail || r.Kind == etcdapi.Span && k < string(r.End))
		if inside {
			keys = append(keys, k)
		}
	}
	return keys
}

// dice reads choices from the fuzzer's bytes; when they run out, all are 0.
type dice struct{ data []byte }

func (d *dice) roll(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	v := int(d.data[0])
	d.data = d.data[1:]
	return v % n
}

func (d *dice) key() string { return names[d.roll(256)%len(names)] }

// keys makes an entry of `keys` and what it covers.
func (d *dice) keys() (string, func(string) bool) {
	a, b := d.key(), d.key()
	switch d.roll(5) {
	case 0:
		return "{key: " + a + "}", func(k string) bool { return k == a }
	case 1:
		return "{prefix: " + a + "}", func(k string) bool { return strings.HasPrefix(k, a) }
	case 2:
		return "{from: " + a + "}", func(k string) bool { return k >= a }
	case 3:
		if a < b {
			return "{from: " + a + ", to: " + b + "}", func(k string) bool { return k >= a && k < b }
		}
		fallthrough
	default:
		return "{all: true}", func(string) bool { return true }
	}
}

func (d *dice) rule(i int) naiveRule {
	r := naiveRule{name: fmt.Sprintf("r%d", i)}
	r.callers = [][]string{{"one"}, {"two"}, {"one", "two"}}[d.roll(3)]
	r.actions = [][]string{{"KV.Range"}, {"KV.Put", "KV.Range"}, {"KV.DeleteRange", "Watch.Watch"}, {"KV.RangeStream", "KV.Txn:Put"},
		{"KV.Txn:Compare", "Lease.LeaseGrant"}, {"KV.Txn:Range"}, {"KV.Txn:DeleteRange", "KV.Range"}}[d.roll(7)]
	var entries []string
	for range 1 + d.roll(3) {
		entry, covers := d.keys()
		entries, r.covers = append(entries, entry), append(r.covers, covers)
	}
	mode := ""
	if r.observes = d.roll(3) == 1; r.observes {
		mode = ", mode: observe"
	}
	r.yaml = fmt.Sprintf("  - {name: %s, callers: [%s], actions: [%s], keys: [%s]%s}\n",
		r.name, strings.Join(r.callers, ", "), strings.Join(r.actions, ", "), strings.Join(entries, ", "), mode)
	return r
}

func (d *dice) rangeOf() etcdapi.Range {
	a, b := d.key(), d.key()
	switch d.roll(4) {
	case 0:
		return key(a)
	case 1:
		return span(a, b)
	case 2:
		return tail(a)
	default:
		return span(a, a+"\x00")
	}
}

// build makes a policy and the second opinion on it.
func (d *dice) build(t testing.TB) (*Policy, naive) {
	var n naive
	body := "callers: [{name: one, match: {cn: [one]}}, {name: two, match: {cn: [two]}}]\nrules:\n"
	for i := range 1 + d.roll(12) {
		n.rules = append(n.rules, d.rule(i))
		body += n.rules[i].yaml
	}
	if n.observes = d.roll(4) == 1; n.observes {
		body = "mode: observe\n" + body
	}
	return parsedFile(t, body), n
}

var fuzzSeeds = func() (seeds [][]byte) {
	for i := range 64 {
		seed := make([]byte, 120)
		x := uint32(i)*2654435761 + 12345
		for j := range seed {
			x = x*1664525 + 1013904223
			seed[j] = byte(x >> 24)
		}
		seeds = append(seeds, seed)
	}
	return seeds
}()

// seen counts what the seeds exercise, so that a generator that has gone stale
// fails instead of passing.
type seen struct{ allowed, observed, denied, joint int }

func compareWithNaive(t testing.TB, data []byte, count *seen) {
	d := &dice{data}
	p, n := d.build(t)
	actions := []etcdapi.Action{etcdapi.KVRange, etcdapi.KVPut, etcdapi.KVTxnCompare, etcdapi.KVTxnPut, etcdapi.KVTxnDeleteRange, etcdapi.KVTxnRange,
		etcdapi.KVDeleteRange, etcdapi.KVRangeStream, etcdapi.WatchWatch, etcdapi.KVTxn, etcdapi.LeaseGrant}
	if len(d.data) == 0 {
		d.data = []byte{1, 2, 3, 4, 5}
	}
	for len(d.data) > 0 {
		a, r := actions[d.roll(len(actions))], d.rangeOf()
		for _, caller := range []string{"one", "two"} {
			got, want := p.Subject(Caller{CN: caller}).Decide(a, r), n.decide(caller, a, r)
			if got != want {
				var text string
				for _, rule := range n.rules {
					text += rule.yaml
				}
				t.Fatalf("%s: %v on %v: %+v, want %+v; observe: %v\n%s", caller, a, r, got, want, n.observes, text)
			}
			switch {
			case got.Observed:
				count.observed++
			case got.Allowed:
				count.allowed++
				if a.Keyed() && !p.ruleNamed(got.Rule).coversAlone(a, r) {
					count.joint++
				}
			default:
				count.denied++
			}
		}
	}
}

func TestDecideAgreesWithANaiveModel(t *testing.T) {
	var count seen
	for i := range 1500 {
		seed := slices.Clone(fuzzSeeds[i%len(fuzzSeeds)])
		for j := range seed {
			seed[j] += byte(i/len(fuzzSeeds)*(j+7)) * 31
		}
		compareWithNaive(t, seed, &count)
	}
	t.Logf("%+v", count)
	if count.allowed < 1000 || count.observed < 1000 || count.denied < 1000 || count.joint < 25 {
		t.Errorf("the generator misses a kind of decision: %+v", count)
	}
}

func FuzzDecide(f *testing.F) {
	if len(fuzzSeeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range fuzzSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) { compareWithNaive(t, data, &seen{}) })
}
