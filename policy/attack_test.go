package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
)

const attackHead = "apiVersion: etcdguard.dev/v1\nkind: Policy\n"

// An age beyond what members remember would allow no compaction, ever, and the
// database would fill.
func TestACompactionAgeThatNoMemberRemembersIsAMistake(t *testing.T) {
	rule := func(age string) string {
		return attackHead + "callers: [{name: a, match: {cn: [a]}}]\nrules: [{name: r, callers: [a], actions: [KV.Compact], compactionAge: " + age + "}]\n"
	}
	if p, err := Parse("p", []byte(rule("1h"))); err != nil || p.Subject(Caller{CN: "a"}).CompactionAge() != time.Hour {
		t.Errorf("the longest: %v", err)
	}
	_, err := Parse("p", []byte(rule("1h0m1s")))
	if err == nil || !strings.Contains(err.Error(), "compactionAge") || !strings.Contains(err.Error(), "1h0m0s or less") {
		t.Errorf("longer than a member remembers: %v", err)
	}
}

// What YAML can be made to mean besides what it seems to say.
func TestYAMLSaysWhatStandsThere(t *testing.T) {
	body := func(callers, rules string) string {
		return attackHead + "callers:\n" + callers + "\nrules:\n" + rules + "\n"
	}
	const good, rule = "  - {name: a, match: {cn: [a]}}", `  - {name: r, callers: [a], actions: [KV.Range], keys: [{prefix: /a/}]}`
	if _, err := Parse("p", []byte(body(good, rule))); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"an anchor":                body("  - &x {name: a, match: {cn: [a]}}", rule),
		"an alias":                 body("  - {name: &n a, match: {cn: [*n]}}", rule),
		"a merge key":              body("  - {name: a, match: {<<: {anyCertificate: true}, cn: [a]}}", rule),
		"a quoted merge key":       body(`  - {name: a, match: {"<<": {anyCertificate: true}, cn: [a]}}`, rule),
		"a field twice":            body("  - {name: a, match: {cn: [a]}, match: {cn: [b]}}", rule),
		"a field in another case":  body("  - {name: a, match: {CN: [a]}}", rule),
		"a field with a space":     body("  - {name: a, match: {\"cn \": [a], anyCertificate: true}}", rule),
		"a number for a name":      body("  - {name: a, match: {cn: [0123]}}", rule),
		"a fraction for a name":    body("  - {name: a, match: {cn: [1e3]}}", rule),
		"a date for a name":        body("  - {name: a, match: {cn: [2020-01-01]}}", rule),
		"a truth for a name":       body("  - {name: a, match: {cn: [true]}}", rule),
		"nothing for a name":       body("  - {name: a, match: {cn: [~]}}", rule),
		"a list in a list":         body("  - {name: a, match: {cn: [[a]]}}", rule),
		"a name with a tag":        body("  - {name: a, match: {cn: [!!str 7]}}", rule),
		"a mode that is a boolean": attackHead + "mode: off\ncallers:\n" + good + "\nrules:\n" + rule,
		"a mode of one's own":      attackHead + "mode: !!str observe\ncallers:\n" + good + "\nrules:\n" + rule,
		"an empty key":             body(good, `  - {name: r, callers: [a], actions: [KV.Range], keys: [{prefix: ""}]}`),
		"a key of nothing":         body(good, `  - {name: r, callers: [a], actions: [KV.Range], keys: [{prefix: }]}`),
		"an entry of nothing":      body(good, `  - {name: r, callers: [a], actions: [KV.Range], keys: [{}]}`),
		"a reserved key":           body(good, `  - {name: r, callers: [a], actions: [KV.Range], keys: [{prefix: "\0etcdguard"}]}`),
		"a reserved key in base64": body(good, `  - {name: r, callers: [a], actions: [KV.Range], keys: [{key: !!binary AGE=}]}`),
		"all: false":               body(good, `  - {name: r, callers: [a], actions: [KV.Range], keys: [{all: false}]}`),
		"a limit beyond 64 bits":   body("  - {name: a, match: {cn: [a]}, limits: {watchers: 18446744073709551616}}", rule),
		"a limit in hex":           body("  - {name: a, match: {cn: [a]}, limits: {watchers: 0x10}}", rule),
		"a limit of zero":          body("  - {name: a, match: {cn: [a]}, limits: {watchers: 0}}", rule),
		"a byte that is no UTF-8":  body("  - {name: a, match: {cn: [\"\xff\"]}}", rule),
		"a zero byte":              body(good, rule) + "\x00mode: observe\n",
		"a second document":        body(good, rule) + "---\nmode: observe\n",
		"a deep list":              body("  - {name: a, match: {cn: "+strings.Repeat("[", 9000)+"}}", rule),
	} {
		if p, err := Parse("p", []byte(text)); err == nil {
			t.Errorf("%s: read as %+v", what, p.callers)
		}
	}
	// Words that other readers of YAML take for truths are names here, and stay so.
	p, err := Parse("p", []byte(body("  - {name: a, match: {cn: [no, yes, on, Off]}}", rule)))
	if err != nil {
		t.Fatal(err)
	}
	for cn, name := range map[string]string{"no": "a", "yes": "a", "on": "a", "Off": "a", "false": "unmatched", "off": "unmatched", "NO": "unmatched"} {
		if got := p.Subject(Caller{CN: cn, Serial: "1"}).Name(); got != name {
			t.Errorf("%s is known as %s, not %s", cn, got, name)
		}
	}
}

// The ends of the key space, where prefixes have no end of their own.
func TestTheEndsOfTheKeySpace(t *testing.T) {
	p, err := Parse("p", []byte(attackHead+`callers: [{name: a, match: {cn: [a]}}]
rules:
  - {name: top, callers: [a], actions: [KV.Range], keys: [{prefix: !!binary /w==}]}
  - {name: two, callers: [a], actions: [KV.Range], keys: [{prefix: "b"}, {from: c, to: d}, {key: e}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Subject(Caller{CN: "a"})
	high := strings.Repeat("\xff", 1<<16)
	for _, c := range []struct {
		key, end string
		allowed  bool
	}{
		{"\xff", "", true}, {high, "", true}, {"\xff", "\x00", true}, {high, "\x00", true},
		{"\xfe\xff", "\x00", false}, {"\xfe\xff", "", false}, {"\xff", high, true},
		{"b", "c", true}, {"b", "d", true}, {"b", "d\x00", false}, {"b", "c\xff", true}, {"b" + high, "", true},
		{"b", "\x00", false}, {"c", "\x00", false}, {"a\xff", "b", false}, {"d", "", false}, {"d", "e", false},
		{"e", "", true}, {"e", "e\x00", true}, {"e", "e\x00\x00", false}, {"e", "f", false}, {"e\x00", "", false},
		{"b", "a", true},  // no key is in it, and its first is the caller's
		{"a", "b", false}, // nor here
		{"", "\x00", false}, {"", "", false}, {"\x01", "", false},
	} {
		r := etcdapi.NewRange([]byte(c.key), []byte(c.end))
		if got := s.Decide(etcdapi.KVRange, r).Allowed; got != c.allowed {
			t.Errorf("[%.10q, %.10q): allowed is %t", c.key, c.end, got)
		}
	}
}

// One URI, one caller: what is close to it is another's.
func TestIdentitiesAreComparedWhole(t *testing.T) {
	p, err := Parse("p", []byte(attackHead+`callers:
  - {name: u, match: {uri: ["spiffe://x/a"]}}
  - {name: d, match: {dns: [host.example]}}
  - {name: i, match: {ip: [10.0.0.1]}}
  - {name: c, match: {cn: [Admin]}}
rules: [{name: r, callers: [u, d, i, c], actions: [KV.Range], keys: [{all: true}]}]
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Caller{
		{URI: []string{"spiffe://x/a/"}}, {URI: []string{"spiffe://x/a?"}}, {URI: []string{"spiffe://x//a"}}, {URI: []string{"spiffe://x/%61"}},
		{URI: []string{"spiffe://X/a"}}, {URI: []string{"spiffe://y@x/a"}}, {URI: []string{"spiffe://x:443/a"}},
		{DNS: []string{"host.example."}}, {DNS: []string{"*.example"}}, {DNS: []string{"a.host.example"}},
		{CN: "admin"}, {CN: "Admin "}, {CN: "Admin\x00"}, {CN: "host.example"}, {CN: "spiffe://x/a"}, {O: []string{"Admin"}}, {CN: "10.0.0.1"},
	} {
		c.Serial = "1"
		if name := p.Subject(c).Name(); name != "unmatched" {
			t.Errorf("%v is taken for %s", c, name)
		}
	}
}
