package search

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// writer writes logs as a busy member's are: kube-apiserver does nearly everything,
// others little, and some what they may not.
type writer struct {
	rnd     *rand.Rand
	dir     string
	perFile int64

	f       *os.File
	out     *bufio.Writer
	written int64
	seq     uint64
	now     time.Time
	rev     int64
	waiting []uint64 // intents that have no outcome yet
	line    []byte
	odd     bool // write what no member writes, too
}

const (
	apiserver = `{"name":"kube-apiserver","cn":"kube-apiserver-etcd-client","o":["system:masters"],"serial":"71234567890123456789","publicKeySHA256":"5e0c9c3f4f3b5d0a8e8f2c7b1a6d5e4f3c2b1a09f8e7d6c5b4a39281706f5e4d","peer":"10.0.0.%d:%d"}`
	teamA     = `{"name":"team-a","cn":"team-a","uri":["spiffe://example.org/team-a"],"serial":"42","publicKeySHA256":"aa0c9c3f4f3b5d0a8e8f2c7b1a6d5e4f3c2b1a09f8e7d6c5b4a39281706f5e4d","peer":"10.0.1.%d:%d"}`
	backup    = `{"name":"backup","cn":"etcdguard-backup","serial":"7","peer":"10.0.2.%d:%d"}`
	monitor   = `{"name":"monitor","cn":"etcdguard-monitor","serial":"8","peer":"[fd00::%d]:%d"}`
	admin     = `{"name":"admin","cn":"etcdguard-admin","serial":"9","peer":"192.0.2.%d:%d"}`
	nobody    = `{"name":"anonymous","peer":"203.0.113.%d:%d"}`
	stranger  = `{"name":"unmatched","cn":"mallory \u001b[2J","o":["a,b"],"serial":"666","peer":"203.0.113.%d:%d"}`
)

func newWriter(t testing.TB, dir string, seed uint64, perFile int64) *writer {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := &writer{
		rnd: rand.New(rand.NewPCG(seed, 1)), dir: dir, perFile: perFile,
		now: time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC), rev: 1000,
	}
	t.Cleanup(func() {
		if w.f != nil {
			w.f.Close()
		}
	})
	return w
}

// event writes one event: what follows kind in it.
func (w *writer) event(t testing.TB, kind string, rest []byte) {
	if w.f == nil || w.written >= w.perFile && w.seq%256 == 0 {
		w.rotate(t)
	}
	w.now = w.now.Add(time.Duration(w.rnd.IntN(2_000_000)))
	b := append(w.line[:0], `{"seq":`...)
	b = strconv.AppendUint(b, w.seq, 10)
	b = append(b, `,"time":"`...)
	b = w.now.AppendFormat(b, "2006-01-02T15:04:05.000000000Z")
	b = append(b, `","kind":"`...)
	b = append(append(b, kind...), '"')
	b = append(append(b, rest...), '}', '\n')
	w.line = b
	if _, err := w.out.Write(b); err != nil {
		t.Fatal(err)
	}
	w.written += int64(len(b))
	w.seq++
}

func (w *writer) rotate(t testing.TB) {
	w.flush(t)
	if w.f != nil {
		if err := w.f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(w.dir, fmt.Sprintf("%020d.jsonl", w.seq)))
	if err != nil {
		t.Fatal(err)
	}
	w.f, w.out = f, bufio.NewWriterSize(f, 1<<20)
	n, _ := fmt.Fprintf(w.out, `{"etcdguardAudit":1,"log":"etcdguard.dev/audit/%032x","first":%d,"tree":[],"created":"%s"}`+"\n", 5, w.seq, w.now.Format(time.RFC3339))
	w.written = int64(n)
}

func (w *writer) flush(t testing.TB) {
	if w.out != nil {
		if err := w.out.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *writer) who(caller string) string {
	return fmt.Sprintf(`,"caller":`+caller, 1+w.rnd.IntN(3), 40000+w.rnd.IntN(20))
}

var resources = []string{"pods", "leases", "events", "secrets", "configmaps", "deployments", "nodes"}

func (w *writer) key() string {
	return fmt.Sprintf("/registry/%s/ns-%d/%s-%d", resources[w.rnd.IntN(len(resources))], w.rnd.IntN(40), "object-with-a-name", w.rnd.IntN(2000))
}

// some writes about n events.
func (w *writer) some(t testing.TB, n int) {
	for end := w.seq + uint64(n); w.seq < end; {
		w.one(t)
	}
}

func (w *writer) one(t testing.TB) {
	micros := 100 + w.rnd.IntN(900)
	if w.rnd.IntN(100) == 0 {
		micros *= 50
	}
	say := func(kind, format string, args ...any) { w.event(t, kind, fmt.Appendf(nil, format, args...)) }
	p := w.rnd.IntN(100_000)
	if w.odd && p%4 == 0 { // more of what is rare
		p = 98_000 + w.rnd.IntN(2000)
	}
	switch {
	case p < 45_000: // a read of one object
		say("access", `%s,"action":"KV.Range","access":[{"action":"KV.Range","key":"%s"}],"decision":"allowed","rule":"apiserver","code":"OK","rev":%d,"keys":1,"bytes":%d,"micros":%d`,
			w.who(apiserver), w.key(), w.rev, w.rnd.IntN(3000), micros)
	case p < 50_000: // a list
		r := resources[w.rnd.IntN(len(resources))]
		say("access", `%s,"action":"KV.Range","access":[{"action":"KV.Range","key":"/registry/%s/","end":"/registry/%s0","limit":500}],"decision":"allowed","rule":"apiserver","code":"OK","rev":%d,"keys":500,"bytes":%d,"micros":%d`,
			w.who(apiserver), r, r, w.rev, w.rnd.IntN(1_000_000), micros)
	case p < 75_000: // a guarded update
		key := w.key()
		w.intent(t, fmt.Appendf(nil, `%s,"action":"KV.Txn","access":[{"action":"KV.Txn:Compare","key":"%s"},{"action":"KV.Txn:Put","key":"%s","lease":"694d8f0c0"},{"action":"KV.Txn:Range","key":"%s"}],"decision":"allowed","rule":"apiserver"`,
			w.who(apiserver), key, key, key))
	case p < 98_000:
		w.outcome(t, micros)
	case p < 98_800:
		say("watch", `%s,"action":"Watch.Watch","access":[{"action":"Watch.Watch","key":"/registry/pods/","end":"/registry/pods0","revision":%d,"prevKV":true}],"decision":"allowed","rule":"apiserver","watch":%d`, w.who(apiserver), w.rev, w.rnd.IntN(50))
	case p < 99_000:
		w.intent(t, fmt.Appendf(nil, `%s,"action":"KV.Put","access":[{"action":"KV.Put","key":"/team-a/%d"}],"decision":"allowed","rule":"team-a"`, w.who(teamA), w.rnd.IntN(500)))
	case p < 99_100: // several keys
		w.intent(t, fmt.Appendf(nil, `%s,"action":"KV.Txn","access":[{"action":"KV.Txn:Put","key":"/team-a/%d"},{"action":"KV.Txn:DeleteRange","key":"/team-a/x/","end":"/team-a/x0"},{"action":"KV.Txn:Range","key":"/team-a/%d"}],"decision":"allowed","rule":"team-a"`, w.who(teamA), w.rnd.IntN(500), w.rnd.IntN(500)))
	case p < 99_200:
		say("denied", `%s,"action":"KV.Range","access":[{"action":"KV.Range","key":"%s"}],"decision":"denied","reason":"no rule allows it","code":"PermissionDenied"`, w.who(teamA), w.key())
	case p < 99_250:
		say("denied", `%s,"action":"KV.Range","access":[{"action":"KV.Range","key":"/","end":"\u0000"}],"decision":"denied","reason":"no rule allows it","code":"PermissionDenied"`, w.who(nobody))
	case p < 99_300:
		say("denied", `%s,"action":"KV.Put","access":[{"action":"KV.Put","key":"/registry/\u001b]0;pwned\u0007"}],"decision":"denied","reason":"no rule allows it","code":"PermissionDenied"`, w.who(stranger))
	case p < 99_310:
		say("stream", `%s,"action":"Maintenance.Snapshot","decision":"allowed","rule":"backup","code":"OK","bytes":123456789,"micros":2345678`, w.who(backup))
	case p < 99_700:
		say("access", `%s,"action":"Maintenance.Status","decision":"allowed","rule":"monitor","code":"OK","rev":%d,"micros":%d`, w.who(monitor), w.rev, micros)
	case p < 99_710:
		w.intent(t, fmt.Appendf(nil, `%s,"action":"Auth.UserAdd","target":"user-%d","decision":"allowed","rule":"admin"`, w.who(admin), w.rnd.IntN(10)))
	case p < 99_720:
		say("gap", `,"reason":"the process ended","from":"%d","to":"%d"`, w.rev-3, w.rev)
	case p < 99_730:
		say("summary", `%s,"from":"%s","to":"%s","counts":[{"action":"KV.Range","code":"OK","level":"summary","n":%d,"keys":20,"bytes":4000},{"action":"Maintenance.Status","code":"OK","level":"none","n":3}]`,
			w.who(monitor), w.now.Format(time.RFC3339), w.now.Format(time.RFC3339), 1+w.rnd.IntN(50))
	case p < 99_740:
		say("handshake", `%s,"reason":"certificate has expired"`, w.who(stranger))
	case p < 99_750:
		say("system", `,"what":"policy","detail":{"sha256":"00","file":"policy.yaml"}`)
	case p < 99_800:
		say("checkpoint", `,"note":"etcdguard.dev/audit/5\n%d\nAAAA\n\n— etcdguard.dev/audit/5 AAAA\n"`, w.seq)
	case p < 99_820: // cut, binary, endless
		say("access", `%s,"action":"KV.Range","access":[{"action":"KV.Range","key64":"AP8=","end":"\u0000"}],"decision":"observed","rule":"wide","code":"OK","rev":%d,"micros":%d`, w.who(teamA), w.rev, micros)
	case p < 99_840:
		say("access", `%s,"action":"KV.Range","access":[{"action":"KV.Range","key":"/team-a/long","keyBytes":900}],"decision":"allowed","rule":"team-a","code":"OK","rev":%d,"micros":%d`, w.who(teamA), w.rev, micros)
	case p < 99_850:
		w.intent(t, fmt.Appendf(nil, `%s,"action":"KV.Txn","access":[{"action":"KV.Txn:Put","key":"/team-a/first"}],"more":70,"decision":"allowed","rule":"team-a"`, w.who(teamA)))
	case p < 99_860 && w.odd:
		w.oddity(t)
	default:
		w.outcome(t, micros)
	}
}

func (w *writer) intent(t testing.TB, rest []byte) {
	w.event(t, "intent", rest)
	w.waiting = append(w.waiting, w.seq-1)
	if len(w.waiting) > 40 {
		w.outcome(t, 300)
	}
}

func (w *writer) outcome(t testing.TB, micros int) {
	if len(w.waiting) == 0 {
		return
	}
	i := w.rnd.IntN(min(len(w.waiting), 8))
	of := w.waiting[i]
	w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
	code := "OK"
	often := 2000
	if w.odd {
		often = 20
	}
	switch w.rnd.IntN(often) {
	case 0:
		code = "Unavailable"
	case 1:
		code = "Lost"
	}
	w.rev++
	w.event(t, "outcome", fmt.Appendf(nil, `,"of":%d,"code":"%s","rev":%d,"bytes":%d,"micros":%d`, of, code, w.rev, w.rnd.IntN(4000), micros))
}

// oddity writes lines that are not as they should be.
func (w *writer) oddity(t testing.TB) {
	switch w.rnd.IntN(5) {
	case 0:
		w.event(t, "outcome", fmt.Appendf(nil, `,"of":%d,"code":"OK"`, w.seq/2)) // of something else
	case 1:
		w.event(t, "outcome", fmt.Appendf(nil, `,"of":%d,"code":"Aborted"`, w.seq+50)) // before its time
	case 2:
		w.event(t, "future", []byte(`, "unknown" : {"a":[1,2.5e3,null]}, "code":"OK"`))
	case 3:
		w.event(t, "access", []byte(`,"action":7`))
	case 4:
		w.event(t, "access", []byte(`,"action":"KV.Range","acc`))
	}
}
