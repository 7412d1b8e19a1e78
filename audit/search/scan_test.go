package search

import (
	"reflect"
	"strings"
	"testing"
)

// lines are events in the form in which they are written.
var lines = []string{
	`{"seq":7,"time":"2026-11-28T18:03:39.000000005Z","kind":"outcome","of":0,"code":"OK","rev":12,"keys":1,"bytes":2,"micros":345}`,
	`{"seq":8,"time":"2026-11-28T18:03:39.000000005Z","kind":"access","caller":{"name":"a","cn":"b \" } c","o":["x","y"],"ip":["10.0.0.1"],"peer":"10.0.0.1:5"},"action":"KV.Range","access":[{"action":"KV.Range","key":"/registry/pods/","end":"/registry/pods0","limit":500,"revision":3,"serializable":true,"keysOnly":false}],"decision":"allowed","rule":"r","code":"OK","rev":12}`,
	`{"seq":9,"time":"2026-11-28T18:03:39Z","kind":"intent","caller":{"name":"anonymous","peer":"[::1]:5"},"action":"KV.Txn","access":[{"action":"KV.Txn:Put","key":"a\u0001\n\"\\","lease":"694d"},{"action":"KV.Txn:Range","key":"ä","end":"\u0000","rule":"other"},{"action":"KV.Txn:Range","key":"","end":"b","endBytes":700},{"action":"KV.Txn:Range","key":"cut","keyBytes":700}],"more":3,"decision":"allowed"}`,
	`{"seq":10,"time":"2026-02-28T23:59:59.999999999Z","kind":"watch","action":"Watch.Watch","decision":"allowed","watch":0}`,
	`{"seq":11,"time":"2026-11-28T18:03:39.5Z","kind":"intent","action":"KV.Compact","revision":12,"physical":true,"target":"t","lease":"ab","decision":"observed","rule":"r","reason":"because"}`,
}

// slow are lines that encoding/json reads, or refuses.
var slow = []string{
	`{"seq":8,"time":"2026-11-28T18:03:39Z","kind":"access","access":[{"action":"KV.Range","key64":"AP8=","end64":"AQ=="}]}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"gap","reason":"x","from":"5","to":"9"}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"summary","counts":[{"action":"KV.Range","code":"OK","level":"none","n":5}]}`,
	`{"seq":1,"time":"2026-11-28T18:03:39+01:00","kind":"system","what":"started","detail":{"a":"b"}}`,
	`{ "seq":1,"time":"2026-11-28T18:03:39Z","kind":"system"}`,
	`{"seq":1,"seq":2,"time":"2026-11-28T18:03:39Z","kind":"system"}`,
	`{"seq":01,"time":"2026-11-28T18:03:39Z","kind":"system"}`,
	`{"seq":1,"time":"2026-11-31T18:03:39Z","kind":"system"}`,
	`{"seq":1,"time":"2026-11-28T18:03:60Z","kind":"system"}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"access","access":[]}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"access","access":null,"caller":null}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"access","rule":"` + "\xff" + `","action":"` + "\xc3\x28" + `"}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"acc` + "\x01" + `ess"}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"access"}{}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"access",}`,
	`{"seq":1,"time":"2026-11-28T18:03:39Z","kind":"access","caller":{"name":5}}`,
	`{"Seq":1,"time":"2026-11-28T18:03:39Z","kind":"access","CODE":"OK"}`,
	`{}`, ``, `null`, `[]`, `{"seq":`,
}

func TestTheUsualFormIsReadWithoutHelp(t *testing.T) {
	var s scanner
	for _, line := range lines {
		if !s.fast([]byte(line)) {
			t.Errorf("not read: %s", line)
		}
		agree(t, &s, []byte(line))
	}
	for _, line := range slow {
		if s.fast([]byte(line)) {
			t.Errorf("read, and is not in the usual form: %s", line)
		}
		agree(t, &s, []byte(line))
	}
}

// agree holds the scanner against encoding/json.
func agree(t *testing.T, s *scanner, line []byte) {
	t.Helper()
	e, wantErr := decode([]byte(strings.Clone(string(line))))
	got, err := s.scan(line)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v, encoding/json: %v", line, err, wantErr)
	}
	if err != nil {
		return
	}
	if want := e.facts(); !reflect.DeepEqual(plain(got), plain(want)) {
		t.Fatalf("%q:\n got %+v\nwant %+v", line, plain(got), plain(want))
	}
}

// plain is facts with texts, so that no and an empty slice are the same.
func plain(f *facts) any {
	type access struct {
		action, key, end                    string
		keyed, hasEnd, keyWasCut, endWasCut bool
	}
	var all []access
	for _, a := range f.access {
		all = append(all, access{string(a.action), string(a.key), string(a.end), a.keyed, a.hasEnd, a.keyWasCut, a.endWasCut})
	}
	var who Caller
	if f.caller != nil {
		who = *f.caller
	}
	return []any{f.seq, f.time, string(f.kind), f.of, f.hasOf, f.caller == nil, who, string(f.action), all,
		string(f.decision), string(f.code), f.rev, f.keys, f.bytes, f.micros, f.from, f.to, len(f.counts)}
}

func FuzzScan(f *testing.F) {
	for _, line := range append(lines, slow...) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var s scanner
		agree(t, &s, line)
		agree(t, &s, line) // what it remembers of the first time changes nothing
		for _, usual := range lines {
			agree(t, &s, []byte(usual))
		}
	})
}
