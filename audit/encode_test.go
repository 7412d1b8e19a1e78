package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/etcdguard/etcdguard/etcdapi"
)

var at = time.Date(2026, 11, 28, 18, 3, 39, 5, time.UTC)

func encode(t *testing.T, e *Event) map[string]any {
	t.Helper()
	var c clock
	b := e.AppendTo(nil, 7, c.stamp(at))
	if !utf8.Valid(b) || len(b) > 64<<10 || strings.ContainsAny(string(b), "\n\x00") {
		t.Fatalf("not one line of at most 64 KiB of text: %d bytes, %.200q", len(b), b)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return m
}

func TestALineIsAsTheSchemaSaysIt(t *testing.T) {
	caller := NewCaller(Identity{Name: "kube-apiserver", CN: `a"b`, O: []string{"system:masters"}, Serial: "12", PublicKeySHA256: "ab", Peer: "127.0.0.1:1"})
	e := &Event{
		Kind: Outcome, Of: 0, Caller: caller, Action: etcdapi.KVTxn, Rule: "apiserver", Decision: Allowed,
		Access: []Access{
			{Action: etcdapi.KVTxnPut, Keys: etcdapi.Key([]byte("/registry/a")), Lease: -1, Rule: "apiserver"},
			{Action: etcdapi.KVTxnRange, Keys: etcdapi.NewRange([]byte("\xff"), []byte{0}), Limit: 500, Rule: "other"},
		},
		Answer: &Answer{Code: "OK", Revision: 12, Keys: 1, Bytes: 3, Micros: 900},
	}
	var c clock
	const want = `{"seq":7,"time":"2026-11-28T18:03:39.000000005Z","kind":"outcome","of":0,` +
		`"caller":{"name":"kube-apiserver","cn":"a\"b","o":["system:masters"],"serial":"12","publicKeySHA256":"ab","peer":"127.0.0.1:1"},` +
		`"action":"KV.Txn","access":[{"action":"KV.Txn:Put","key":"/registry/a","lease":"ffffffffffffffff"},` +
		`{"action":"KV.Txn:Range","key64":"/w==","end":"\u0000","limit":500,"rule":"other"}],` +
		`"decision":"allowed","rule":"apiserver","code":"OK","rev":12,"keys":1,"bytes":3,"micros":900}`
	if got := string(e.AppendTo(nil, 7, c.stamp(at))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLongRequestsAreCutAndSaySo(t *testing.T) {
	long := strings.Repeat("ü\x01", 4000)
	e := &Event{Kind: Intent, Action: etcdapi.KVTxn, Target: long, Reason: long}
	names := make([]string, 5000)
	for i := range names {
		names[i] = long
	}
	e.Caller = NewCaller(Identity{CN: long, DNS: names, O: names})
	for range 1000 {
		e.Access = append(e.Access, Access{Action: etcdapi.KVTxnDeleteRange, Keys: etcdapi.NewRange([]byte(long), []byte("z"+long))})
	}
	m := encode(t, e)
	accesses := m["access"].([]any)
	if n := len(accesses) + int(m["more"].(float64)); n != 1000 || len(accesses) < 5 {
		t.Errorf("%d accesses written, %v counted", len(accesses), m["more"])
	}
	first := accesses[0].(map[string]any)
	if first["keyBytes"].(float64) != float64(len(long)) || !strings.HasPrefix(long, first["key"].(string)) {
		t.Errorf("the first access is %v", first)
	}
	if m["caller"].(map[string]any)["oMore"] == nil {
		t.Error("a caller with 5,000 organisations does not say that some are missing")
	}
}

func FuzzTextComesBack(f *testing.F) {
	for _, s := range []string{"", "a", "a\"\\\n\x00\x7f", "\xff", "ü\xc3", "\u2028", "\ud7ff", strings.Repeat("x", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m := encode(t, &Event{Kind: Denied, Reason: s, Access: []Access{{Action: etcdapi.KVRange, Keys: etcdapi.Key([]byte(s))}}})
		reason, _ := m["reason"].(string)
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && len(s) <= mostText && reason != want {
			t.Errorf("%q came back as %q", s, reason)
		}
		access := m["access"].([]any)[0].(map[string]any)
		if key, text := access["key"].(string); text && len(s) <= mostKeyBytes && key != s {
			t.Errorf("key %q came back as %q", s, key)
		} else if !text && access["key64"] == nil {
			t.Errorf("key %q is not there", s)
		}
	})
}

func TestTimeNeverGoesBack(t *testing.T) {
	var c clock
	first := string(c.stamp(at))
	if second := string(c.stamp(at.Add(-time.Hour))); second != first {
		t.Errorf("an hour earlier is written as %s after %s", second, first)
	}
	if third := string(c.stamp(at.Add(time.Second))); third != "2026-11-28T18:03:40.000000005Z" {
		t.Errorf("a second later is %s", third)
	}
}

func BenchmarkIntent(b *testing.B) {
	caller := NewCaller(Identity{Name: "kube-apiserver", CN: "kube-apiserver-etcd-client", O: []string{"system:masters"},
		Serial: "1234567890123456789", PublicKeySHA256: strings.Repeat("ab", 32), Peer: "127.0.0.1:40000"})
	e := &Event{Kind: Intent, Caller: caller, Action: etcdapi.KVPut, Decision: Allowed, Rule: "apiserver",
		Access: []Access{{Action: etcdapi.KVPut, Rule: "apiserver", Keys: etcdapi.Key([]byte("/registry/secrets/default/some-secret"))}}}
	var c clock
	var buf []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		buf = e.AppendTo(buf[:0], uint64(i), c.stamp(at))
	}
	b.ReportMetric(float64(len(buf)), "bytes/event")
}
