package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

var (
	suggestedRule   = regexp.MustCompile(`(\{name: [^{}]*, callers: .*\}) under rules`)
	suggestedCaller = regexp.MustCompile(`(\{name: .*\}) under callers, and `)
)

// TestSuggestionsWork takes each suggestion at its word: pasted into the policy,
// it allows what was denied, and the line is one line.
func TestSuggestionsWork(t *testing.T) {
	callers := []Caller{app, {CN: "new"}, {CN: "with, comma"}, {CN: "a: b # c"}, {CN: "true"}, {CN: "line\nbreak"}, {CN: "ü"}, {CN: "12"},
		{URI: []string{"spiffe://example.org/a"}, CN: "x"}, {DNS: []string{"a.example.org"}}, {IP: []netip.Addr{netip.MustParseAddr("::1")}, PublicKeySHA256: strings.Repeat("ab", 32)}, {}}
	ranges := []etcdapi.Range{key("k"), key("/registry/secrets/a"), key("a b"), key("\xff\x01"), key("#"), key("1"), key("true"), key("a\nb"), key("- x"), key("{}"),
		prefix("/registry/secrets/"), span("a", "b\x00c"), tail("z"), tail("\x01"), span("b", "a"), key("a:"), key("é"), key("\x7f"), key("<<"), key("~")}
	for _, c := range callers {
		for _, a := range []etcdapi.Action{etcdapi.KVRange, etcdapi.KVTxnPut, etcdapi.WatchWatch, etcdapi.MaintenanceSnapshot, etcdapi.LeaseGrant} {
			for _, r := range ranges {
				if !a.Keyed() {
					r = etcdapi.Range{}
				}
				checkSuggestion(t, c, a, r)
			}
		}
	}
}

func checkSuggestion(t *testing.T, c Caller, a etcdapi.Action, r etcdapi.Range) {
	t.Helper()
	callerEntries := "{name: app, match: {cn: [app]}}"
	before := parsedFile(t, "callers: ["+callerEntries+"]\nrules: []\n")
	s := before.Suggest(c, a, r)
	if strings.ContainsAny(s, "\n\r") {
		t.Fatalf("more than a line: %q", s)
	}
	rule := suggestedRule.FindStringSubmatch(s)
	if rule == nil {
		t.Fatalf("no rule in %q", s)
	}
	if m := suggestedCaller.FindStringSubmatch(s); m != nil {
		callerEntries += ", " + m[1]
		rule[1] = rule[1][strings.LastIndex(rule[1], "{name: NAME, callers"):]
	}
	body := fmt.Sprintf("callers: [%s]\nrules: [%s]\n", callerEntries, rule[1])
	after, err := Parse("p", []byte(head+body))
	if err != nil {
		t.Fatalf("%v\nafter taking the suggestion %q", err, s)
	}
	if d := after.Subject(c).Decide(a, r); !d.Allowed || d.Observed {
		t.Fatalf("%v %v on %v is still denied after taking the suggestion %q", c, a, r, s)
	}
}

func TestSuggestNamesTheRole(t *testing.T) {
	p := parsed(t, "rules: []")
	for want, s := range map[string]string{
		"role: backup":         p.Suggest(app, etcdapi.MaintenanceSnapshot, etcdapi.Range{}),
		"role: monitor":        p.Suggest(app, etcdapi.MaintenanceStatus, etcdapi.Range{}),
		"role: kube-apiserver": p.Suggest(app, etcdapi.KVTxnPut, key("/registry/a")),
	} {
		if !strings.Contains(s, want) {
			t.Errorf("%q does not name %s", s, want)
		}
	}
	if s := p.Suggest(app, etcdapi.KVTxnPut, tail("/registry/")); strings.Contains(s, "role:") {
		t.Errorf("no role but admin allows this: %s", s)
	}
	if s := p.Suggest(app, etcdapi.KVPut, key("\x00x")); !strings.Contains(s, "reserved") {
		t.Error(s)
	}
}
