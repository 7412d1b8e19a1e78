package cli

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/audit/search"
)

func TestTimesAsPeopleSayThem(t *testing.T) {
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 11, 28, 18, 30, 15, 0, zone)
	for text, want := range map[string]string{
		"today": "2026-11-28T00:00:00+02:00", "yesterday": "2026-11-27T00:00:00+02:00",
		"1h": "2026-11-28T17:30:15+02:00", "1h ago": "2026-11-28T17:30:15+02:00", "90s": "2026-11-28T18:28:45+02:00", "7d": "2026-11-21T18:30:15+02:00",
		"2026-11-28T18:00:00Z": "2026-11-28T18:00:00Z", "2026-11-28T18:00:00.5+01:00": "2026-11-28T18:00:00.5+01:00",
		"2026-11-28": "2026-11-28T00:00:00+02:00", "2026-11-28 18:00": "2026-11-28T18:00:00+02:00", "2026-11-28 18:00:01": "2026-11-28T18:00:01+02:00",
	} {
		if got, err := auditTime("--since", text, now); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s, %v, want %s", text, got.Format(time.RFC3339Nano), err, want)
		}
	}
	for _, text := range []string{"soon", "-1h", "1x", "18:00", "2026-13-01", "ago"} {
		if got, err := auditTime("--since", text, now); err == nil {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestNumbersOrTwo(t *testing.T) {
	for text, want := range map[string]search.Span{"7": {From: 7, To: 7}, "7..9": {From: 7, To: 9}, "7..": {From: 7, To: 1<<63 - 1}, "..9": {From: 0, To: 9}} {
		if got, err := auditSpan("--rev", text); err != nil || *got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"a", "9..7", "-1", "1..b", "1..2..3"} {
		if got, err := auditSpan("--rev", text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestKeysInTheQuery(t *testing.T) {
	for _, c := range []struct {
		a          auditQuery
		begin, end string
	}{
		{auditQuery{key: "/a"}, "/a", "/a\x00"}, {auditQuery{prefix: "/a/"}, "/a/", "/a0"},
		{auditQuery{key: `"\xff"`}, "\xff", "\xff\x00"}, {auditQuery{prefix: `"\xff"`}, "\xff", ""},
	} {
		q, err := c.a.query(time.Now())
		if err != nil || string(q.Keys.Begin) != c.begin || string(q.Keys.End) != c.end {
			t.Errorf("%+v: %+v, %v", c.a, q.Keys, err)
		}
	}
	for _, a := range []auditQuery{{key: "a", prefix: "b"}, {key: `"`}, {key: `"a"b`}, {peer: "somewhere"}, {callers: []string{"cn="}}} {
		if q, err := a.query(time.Now()); err == nil {
			t.Errorf("%+v: %+v", a, q)
		}
	}
}

// TestTheRecordDoesNotSpeakToTheTerminal: names of keys and callers are chosen by
// whoever asks.
func TestTheRecordDoesNotSpeakToTheTerminal(t *testing.T) {
	line := `{"seq":1,"time":"2026-11-28T18:00:00Z","kind":"denied","caller":{"name":"a` + "\u009b31m\u202e" + `","cn":"\u001b[2J"},"action":"KV.Put","access":[{"action":"KV.Put","key":"\u001b]0;x\u0007` + "\u009b\U000e0001" + `"}],"decision":"denied","reason":"\r\n"}`
	var e search.Event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	e.Line = []byte(line + "\x9b") // and half a rune that is none
	for _, p := range []auditPrinter{{json: true, terminal: true}, {terminal: true}, {raw: true, terminal: true}, {logs: true, terminal: true}} {
		var out bytes.Buffer
		p.out = &out
		if err := p.row(&search.Row{Log: "x\x1b", Event: &e}); err != nil {
			t.Fatal(err)
		}
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); legible(got) != got || !strings.Contains(got, "KV.Put") {
			t.Errorf("%+v: %q", p, got)
		}
		if p.json {
			var again search.Event
			if err := json.Unmarshal(bytes.Replace(out.Bytes(), []byte("\ufffd"), nil, 1), &again); err != nil || again.Caller.Name != e.Caller.Name || *again.Access[0].Key != *e.Access[0].Key {
				t.Errorf("another event: %q, %v", out.String(), err)
			}
		}
	}
}

func TestColourOnlyOnATerminal(t *testing.T) {
	denied := &search.Row{Event: &search.Event{Kind: "denied", Action: "KV.Put"}}
	admin := &search.Row{Event: &search.Event{Kind: "intent", Action: "Auth.UserAdd"}}
	read := &search.Row{Event: &search.Event{Kind: "access", Action: "KV.Range"}}
	if got := []string{auditColour(denied), auditColour(admin), auditColour(read)}; !slices.Equal(got, []string{red, yellow, ""}) {
		t.Errorf("%q", got)
	}
	var out bytes.Buffer
	p := newAuditPrinter(&out)
	for _, row := range []*search.Row{denied, admin} {
		if err := p.row(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil || strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "Auth.UserAdd") {
		t.Errorf("%q, %v", out.String(), err)
	}
}
