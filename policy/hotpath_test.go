package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

const watchAction = etcdapi.WatchWatch

// TestDecideDoesNotAllocate: a decision is made for every part of every request.
func TestDecideDoesNotAllocate(t *testing.T) {
	p, err := Parse("policy.yaml", manyRules(1000))
	if err != nil {
		t.Fatal(err)
	}
	many := p.Subject(app)
	both := parsed(t, `rules:
  - {name: n, callers: [app], actions: [KV.Range], keys: [{from: b, to: c}]}
  - {name: o, callers: [app], actions: ["*"], keys: [{all: true}], mode: observe}`).Subject(app)
	for name, decide := range map[string]func(){
		"allowed":          func() { many.Decide(etcdapi.KVRange, key7) },
		"denied":           func() { many.Decide(etcdapi.KVRange, keyNone) },
		"a span":           func() { many.Decide(etcdapi.KVRange, span7) },
		"to the end":       func() { many.Decide(etcdapi.WatchWatch, tail7) },
		"the envelope":     func() { many.Decide(etcdapi.KVTxn, etcdapi.Range{}) },
		"no key":           func() { many.Decide(etcdapi.KVPut, keyEmpty) },
		"observed":         func() { both.Decide(etcdapi.KVRange, key7) },
		"partly observed":  func() { both.Decide(etcdapi.KVRange, spanB) },
		"a compaction":     func() { many.DecideCompaction(0) },
		"what it is named": func() { _ = many.Name(); many.Limits() },
	} {
		if n := testing.AllocsPerRun(100, decide); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

var (
	key7     = key("/registry/tenants/7/x")
	keyNone  = key("/registry/tenantz")
	keyEmpty = key("")
	span7    = prefix("/registry/tenants/7/x/")
	tail7    = tail("/registry/tenants/7/x")
	spanB    = span("b", "d")
)

// TestTableFindsWhatAScanFinds covers what makes the tree hard: keys that tie in
// eight bytes, prefixes of each other, zeros, and sizes around its fan-out.
func TestTableFindsWhatAScanFinds(t *testing.T) {
	shapes := map[string]func(i int) string{
		"numbers":         func(i int) string { return fmt.Sprintf("/a/%06d", i) },
		"long ties":       func(i int) string { return "/a/" + strings.Repeat("x", 20) + fmt.Sprintf("%05d", i) },
		"ever longer":     func(i int) string { return strings.Repeat("a", i+1) },
		"zeros":           func(i int) string { return "k" + strings.Repeat("\x00", i) },
		"high bytes":      func(i int) string { return strings.Repeat("\xff", i%9+1) + fmt.Sprintf("%04d", i) },
		"mixed prefixes":  func(i int) string { return fmt.Sprintf("%c/%s/%d", 'a'+i%26, strings.Repeat("y", i%17), i) },
		"ties with zeros": func(i int) string { return "abcdefgh" + strings.Repeat("\x00", i%5) + string(rune('a'+i%26)) },
	}
	for name, shape := range shapes {
		for _, n := range []int{1, 2, 15, 16, 17, 255, 256, 257, 300} {
			var claims []claim
			for i := range n {
				claims = append(claims, claim{exactly(shape(i)), int32(i)})
			}
			table := newTable(claims)
			for i := range n {
				k := shape(i)
				for _, probe := range []string{k, k + "\x00", k + "z", k[:len(k)-1], k[:len(k)-1] + string([]byte{k[len(k)-1] + 1}), "", "\x01", "\xff\xff"} {
					want := -1
					for j := len(claims) - 1; j >= 0; j-- {
						if claims[j].begin == probe {
							want = j // the first in the file
						}
					}
					got := -1
					if c := table.at([]byte(probe)); c != nil {
						got = int(c.rule)
					}
					if got != want {
						t.Fatalf("%s, %d keys: %q is decided by %d, want %d", name, n, probe, got, want)
					}
				}
			}
		}
	}
}
