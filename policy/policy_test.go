package policy

import (
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// parsed is a policy with the caller "app" (CN app) and the given rest of the file.
func parsed(t testing.TB, rules string) *Policy {
	t.Helper()
	return parsedFile(t, "callers: [{name: app, match: {cn: [app]}}]\n"+rules)
}

func parsedFile(t testing.TB, body string) *Policy {
	t.Helper()
	p, err := Parse("policy.yaml", []byte("apiVersion: etcdguard.dev/v1\nkind: Policy\n"+body))
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, body)
	}
	return p
}

var app = Caller{CN: "app"}

func key(k string) etcdapi.Range         { return etcdapi.Key([]byte(k)) }
func span(from, to string) etcdapi.Range { return etcdapi.NewRange([]byte(from), []byte(to)) }
func tail(from string) etcdapi.Range     { return etcdapi.NewRange([]byte(from), []byte{0}) }
func prefix(p string) etcdapi.Range {
	return etcdapi.NewRange([]byte(p), etcdapi.PrefixEnd([]byte(p)))
}

// allowed, observed and denied are the three decisions, short enough for tables.
func allowed(rule string) Decision  { return Decision{Allowed: true, Rule: rule} }
func observed(rule string) Decision { return Decision{Allowed: true, Observed: true, Rule: rule} }

var denied Decision

func TestDecide(t *testing.T) {
	const rules = `
rules:
  - {name: folder, callers: [app], actions: [KV.Range], keys: [{prefix: /a/}]}
  - {name: left, callers: [app], actions: [KV.Range], keys: [{from: m, to: p}]}
  - {name: right, callers: [app], actions: [KV.Range], keys: [{from: p, to: s}]}
  - {name: overlap, callers: [app], actions: [KV.Range], keys: [{from: o, to: q}]}
  - {name: one, callers: [app], actions: [KV.Range], keys: [{key: k}]}
  - {name: open, callers: [app], actions: [KV.Range], keys: [{from: x}]}
  - {name: top, callers: [app], actions: [KV.Range], keys: [{prefix: !!binary //8=}]}
  - {name: put, callers: [app], actions: [KV.Put], keys: [{prefix: /a/}]}
`
	for _, c := range []struct {
		name   string
		action etcdapi.Action
		keys   etcdapi.Range
		want   Decision
	}{
		{"a key in the folder", etcdapi.KVRange, key("/a/x"), allowed("folder")},
		{"the folder's own name", etcdapi.KVRange, key("/a/"), allowed("folder")},
		{"a neighbour's key", etcdapi.KVRange, key("/ab"), denied},
		{"the key just below", etcdapi.KVRange, key("/a"), denied},
		{"the key just above", etcdapi.KVRange, key("/a0"), denied},
		{"the folder", etcdapi.KVRange, prefix("/a/"), allowed("folder")},
		{"one key too many above", etcdapi.KVRange, span("/a/", "/a0\x00"), denied},
		{"one key too many below", etcdapi.KVRange, span("/a", "/a0"), denied},
		{"from the folder on without end (CVE-2026-73499)", etcdapi.KVRange, tail("/a/"), denied},
		{"everything", etcdapi.KVRange, tail("\x01"), denied},
		{"a folder within the folder", etcdapi.KVRange, prefix("/a/b/"), allowed("folder")},

		{"two rules that touch", etcdapi.KVRange, span("m", "s"), allowed("left")},
		{"over the seam", etcdapi.KVRange, span("oo", "pp"), allowed("left")},
		{"the first in the file is named", etcdapi.KVRange, key("o"), allowed("left")},
		{"beyond the seam", etcdapi.KVRange, key("p"), allowed("right")},
		{"past the end", etcdapi.KVRange, span("m", "s\x00"), denied},
		{"over a hole", etcdapi.KVRange, span("k", "n"), denied},
		{"begins in the hole", etcdapi.KVRange, span("l", "n"), denied},

		{"one key", etcdapi.KVRange, key("k"), allowed("one")},
		{"its successor", etcdapi.KVRange, key("k\x00"), denied},
		{"one key as a range", etcdapi.KVRange, span("k", "k\x00"), allowed("one")},
		{"one key as a prefix", etcdapi.KVRange, prefix("k"), denied},

		{"open-ended, granted", etcdapi.KVRange, tail("x"), allowed("open")},
		{"open-ended from within", etcdapi.KVRange, tail("zz"), allowed("open")},
		{"open-ended from below", etcdapi.KVRange, tail("w"), denied},
		{"bounded in the open-ended", etcdapi.KVRange, span("x", "\xff\xff\xff"), allowed("open")},
		{"all 0xff", etcdapi.KVRange, tail("\xff\xff"), allowed("open")},

		{"a span without keys is judged where it begins", etcdapi.KVRange, span("/a/z", "/a/b"), allowed("folder")},
		{"also where that is denied", etcdapi.KVRange, span("/b", "/a/"), denied},
		{"an empty span at an end", etcdapi.KVRange, span("s", "m"), denied},

		{"another action", etcdapi.KVDeleteRange, key("/a/x"), denied},
		{"a stream is not a read", etcdapi.KVRangeStream, key("/a/x"), denied},
		{"a watch is not a read", etcdapi.WatchWatch, key("/a/x"), denied},
		{"a keyed action without keys", etcdapi.KVRange, etcdapi.Range{}, denied},
		{"no action", etcdapi.NoAction, key("/a/x"), denied},
		{"an action of a later etcd", etcdapi.Action(etcdapi.ActionCount), key("/a/x"), denied},
		{"the highest number", etcdapi.Action(255), key("/a/x"), denied},

		{"a read in a transaction", etcdapi.KVTxnRange, key("/a/x"), allowed("folder")},
		{"a compare is a read", etcdapi.KVTxnCompare, key("/a/x"), allowed("folder")},
		{"a compare elsewhere", etcdapi.KVTxnCompare, key("/b"), denied},
		{"a put in a transaction", etcdapi.KVTxnPut, key("/a/x"), allowed("put")},
		{"a delete in a transaction", etcdapi.KVTxnDeleteRange, key("/a/x"), denied},
		{"the envelope", etcdapi.KVTxn, etcdapi.Range{}, allowed("folder")},
		{"compaction", etcdapi.KVCompact, etcdapi.Range{}, denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parsed(t, rules)
			if got := p.Subject(app).Decide(c.action, c.keys); got != c.want {
				t.Errorf("%v on %v: %+v, want %+v", c.action, c.keys, got, c.want)
			}
			if got := p.Subject(Caller{CN: "apps"}).Decide(c.action, c.keys); got != denied {
				t.Errorf("a caller that nothing matches: %+v", got)
			}
		})
	}
}

// TestReservedKeysAreOutOfReach: the guard confines every range before it asks;
// should it ever forget, the policy denies, whatever the rules and the mode.
func TestReservedKeysAreOutOfReach(t *testing.T) {
	p := parsed(t, "mode: observe\nrules: [{name: all, callers: [app], role: admin}]")
	for _, r := range []etcdapi.Range{key("\x00"), key("\x00etcdguard/ring"), span("\x00", "\x01"), tail("\x00"), span("\x00a", "z")} {
		if d := p.Subject(app).Decide(etcdapi.KVRange, r); d.Allowed {
			t.Errorf("%v: %+v", r, d)
		}
	}
}

// TestEmptyKey: etcd answers an empty key with an error of its own, and whoever
// may use all keys must see that one, as on stock etcd.
func TestEmptyKey(t *testing.T) {
	all := parsed(t, "rules: [{name: all, callers: [app], role: admin}]").Subject(app)
	some := parsed(t, "rules: [{name: a, callers: [app], actions: ['KV.*'], keys: [{prefix: a}]}]").Subject(app)
	for _, r := range []etcdapi.Range{key(""), span("", "b"), tail("")} {
		if d := all.Decide(etcdapi.KVPut, r); d != allowed("all") {
			t.Errorf("admin on %v: %+v", r, d)
		}
		if d := some.Decide(etcdapi.KVPut, r); d != denied {
			t.Errorf("others on %v: %+v", r, d)
		}
	}
}

func TestOnlyPartsOfTxnGrantNoBareRPC(t *testing.T) {
	s := parsed(t, `rules: [{name: parts, callers: [app], actions: [KV.Txn], keys: [{all: true}]}]`).Subject(app)
	for _, a := range []etcdapi.Action{etcdapi.KVTxnCompare, etcdapi.KVTxnRange, etcdapi.KVTxnPut, etcdapi.KVTxnDeleteRange, etcdapi.KVTxn} {
		if d := s.Decide(a, key("k")); d != allowed("parts") {
			t.Errorf("%v: %+v", a, d)
		}
	}
	for _, a := range []etcdapi.Action{etcdapi.KVRange, etcdapi.KVPut, etcdapi.KVDeleteRange, etcdapi.KVRangeStream, etcdapi.WatchWatch} {
		if d := s.Decide(a, key("k")); d.Allowed {
			t.Errorf("%v: %+v", a, d)
		}
	}
}

func TestObserve(t *testing.T) {
	const rules = `rules:
  - {name: narrow, callers: [app], actions: [KV.Range, Lease.LeaseGrant], keys: [{from: b, to: c}]}
  - {name: broad, callers: [app], actions: [KV.Range, "Lease.*"], keys: [{from: a, to: e}], mode: observe}
  - {name: broader, callers: [app], actions: [KV.Range], keys: [{from: a, to: f}], mode: observe}
`
	for _, c := range []struct {
		name          string
		action        etcdapi.Action
		keys          etcdapi.Range
		want, wantAll Decision // by rules; in a file that observes
	}{
		{"the narrow rule enforces", etcdapi.KVRange, key("b"), allowed("narrow"), allowed("narrow")},
		{"only the broad one", etcdapi.KVRange, key("a"), observed("broad"), observed("broad")},
		{"both together: the observing one carries it", etcdapi.KVRange, span("b", "d"), observed("broad"), observed("broad")},
		{"beyond the first broad one", etcdapi.KVRange, key("e"), observed("broader"), observed("broader")},
		{"over all", etcdapi.KVRange, span("a", "f"), observed("broad"), observed("broad")},
		{"past all", etcdapi.KVRange, span("a", "g"), denied, observed("")},
		{"elsewhere", etcdapi.KVRange, key("x"), denied, observed("")},
		{"without end", etcdapi.KVRange, tail("b"), denied, observed("")},
		{"no keys, enforced", etcdapi.LeaseGrant, etcdapi.Range{}, allowed("narrow"), allowed("narrow")},
		{"no keys, observed", etcdapi.LeaseRevoke, etcdapi.Range{}, observed("broad"), observed("broad")},
		{"no keys, denied", etcdapi.MaintenanceSnapshot, etcdapi.Range{}, denied, observed("")},
		{"the envelope prefers what enforces", etcdapi.KVTxn, etcdapi.Range{}, allowed("narrow"), allowed("narrow")},
		{"what makes no sense is never observed", etcdapi.KVRange, etcdapi.Range{}, denied, denied},
		{"an unknown action is never observed", etcdapi.Action(200), key("b"), denied, denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parsed(t, rules).Subject(app).Decide(c.action, c.keys); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
			if got := parsed(t, "mode: observe\n"+rules).Subject(app).Decide(c.action, c.keys); got != c.wantAll {
				t.Errorf("mode observe: %+v, want %+v", got, c.wantAll)
			}
		})
	}
	p := parsed(t, "mode: observe\n"+rules)
	for _, c := range []Caller{{}, {CN: "nobody"}} {
		if d := p.Subject(c).Decide(etcdapi.MaintenanceSnapshot, etcdapi.Range{}); d != observed("") {
			t.Errorf("%v: %+v", c, d)
		}
	}
	if p.Enforces() || !parsed(t, rules).Enforces() {
		t.Error("Enforces does not tell the modes apart")
	}
}

func TestDigestIsOfTheBytes(t *testing.T) {
	a, b := parsed(t, "rules: []"), parsed(t, "rules: [] # the same, but another file")
	if a.Digest() == b.Digest() || len(a.Digest()) != 64 || strings.ToLower(a.Digest()) != a.Digest() {
		t.Errorf("%s and %s", a.Digest(), b.Digest())
	}
}
