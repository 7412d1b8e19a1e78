package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// node is one member with its log, and what it does every now and then: make a
// checkpoint, look at the others' documents, write its own.
type node struct {
	*testLog
	witness   Witness
	published *Document
	written   time.Time
	worth     bool // an event that is worth a checkpoint
	events    int
}

func newNode(t testing.TB, seed uint64) *node {
	n := &node{testLog: newTestLog(t, seed)}
	n.newest = ""
	n.blocks = 1 << 20 // one segment
	return n
}

func (n *node) prover() *Prover { return n.tree.Prover(ReadLines(n.dir)) }

func (n *node) log() Log { return Log{n.signer, n.newest, n.prover()} }

// work is what clients make a member record.
func (n *node) work(events int64) {
	n.fill(events)
	n.worth = true
}

// tick is what a member does on a timer. It says whether it wrote to etcd.
func (n *node) tick(t testing.TB, now time.Time, etcd map[*node][]byte) bool {
	t.Helper()
	if n.worth || n.newest == "" {
		n.checkpoint()
		n.worth = false
	}
	var others []*Document
	for _, other := range sorted(etcd) {
		if other == n {
			continue
		}
		d, err := ParseDocument(etcd[other])
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, d)
		o := n.witness.Observe(d)
		if o.Result != First && o.Result != Consistent && o.Result != Unchanged && o.Result != NoProof {
			t.Fatalf("%s: %v", o.Result, o.Why)
		}
		if o.Append {
			n.add("witness", fmt.Sprintf(`,"origin":%q,"result":%q,"note":%s`, o.Origin, o.Result, asJSON(o.Note)))
			n.witness.Recorded(o)
			n.events++
		}
	}
	fresh, disputes, err := n.witness.Compose(n.log(), n.published, others)
	if err != nil || len(disputes) > 0 {
		t.Fatal(err, disputes)
	}
	if !Due(n.published, fresh, now.Sub(n.written)) {
		return false
	}
	data, err := fresh.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	etcd[n], n.published, n.written = data, fresh, now
	return true
}

func sorted(etcd map[*node][]byte) (all []*node) {
	for n := range etcd {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *node) int { return strings.Compare(a.dir, b.dir) })
	return all
}

func TestMembersSeeEachOtherAndAnIdleClusterWritesNothing(t *testing.T) {
	nodes := []*node{newNode(t, 1), newNode(t, 2), newNode(t, 3)}
	etcd := map[*node][]byte{}
	rnd := rand.New(rand.NewPCG(1, 1))
	now := time.Unix(1e9, 0)
	lastWrite := map[*node]time.Time{}
	writes := 0
	run := func(rounds int, working bool) (wrote, events int) {
		t.Helper()
		for _, n := range nodes {
			n.events = 0
		}
		for range rounds {
			for _, i := range rnd.Perm(len(nodes)) {
				now = now.Add(time.Duration(rnd.Int64N(int64(4 * time.Second))))
				n := nodes[i]
				if working {
					n.work(1 + rnd.Int64N(50))
				}
				if !n.tick(t, now, etcd) {
					continue
				}
				if since := now.Sub(lastWrite[n]); since < PublishEvery {
					t.Fatalf("two writes within %v", since)
				}
				lastWrite[n] = now
				wrote++
			}
		}
		for _, n := range nodes {
			events += n.events
		}
		writes += wrote
		return wrote, events
	}
	if wrote, events := run(60, true); wrote < 30 || events < 60 {
		t.Fatalf("%d writes and %d witness events in ten minutes of work", wrote, events)
	}
	// Each has seen the others as they were half a minute ago, or newer.
	for _, n := range nodes {
		for _, other := range nodes {
			if n != other && other.tree.Size()-n.witness.seen[other.signer.Origin()].last.Size > 600 {
				t.Errorf("one has seen %d events of %d", n.witness.seen[other.signer.Origin()].last.Size, other.tree.Size())
			}
		}
	}
	run(12, false)
	if wrote, events := run(100, false); wrote != 0 || events != 0 {
		t.Fatalf("%d writes and %d events of a cluster that has been idle", wrote, events)
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if n == other {
				continue
			}
			c, err := Unverified(other.newest)
			if err != nil || n.witness.seen[other.signer.Origin()].last.Size != c.Size {
				t.Errorf("an idle cluster has not seen all: %d of %d", n.witness.seen[other.signer.Origin()].last.Size, c.Size)
			}
		}
	}
	// One event, and it is quiet again.
	nodes[0].work(1)
	if wrote, events := run(50, false); wrote != 3 || events != 2 {
		t.Errorf("%d writes and %d events for one event", wrote, events)
	}
	for _, n := range nodes {
		var others []string
		for _, other := range nodes {
			if other != n {
				others = append(others, other.dir)
			}
		}
		r := check(t, n.dir, n.signer.Public(), others)
		if !r.Holds() || r.Witnesses[0].Checkpoints < 5 || r.Witnesses[1].Checkpoints < 5 {
			t.Errorf("%+v", r)
		}
	}
}

func compose(t *testing.T, n *node, published *Document, others ...*Document) (*Document, []Dispute) {
	t.Helper()
	d, disputes, err := n.witness.Compose(n.log(), published, others)
	if err != nil {
		t.Fatal(err)
	}
	return d, disputes
}

// sawAll is a document of a member that has seen a log as it is now.
func sawAll(t *testing.T, by, of *node) *Document {
	t.Helper()
	c, err := Unverified(of.newest)
	if err != nil {
		t.Fatal(err)
	}
	return &Document{Version: 1, Checkpoint: by.newest, Keys: by.signer.Public(), Seen: []Seen{{c.Origin, c.Size, c.Root}}}
}

func TestWhatAWitnessMakesOfADocument(t *testing.T) {
	a, b := newNode(t, 1), newNode(t, 2)
	a.work(300)
	a.checkpoint()
	b.checkpoint()
	first, _ := compose(t, a, nil)
	observe := func(d *Document, want Result, wantAppend bool) Observation {
		t.Helper()
		o := b.witness.Observe(d)
		if o.Result != want || o.Append != wantAppend || (o.Why == nil) != (want == First || want == Consistent || want == Unchanged) {
			t.Fatalf("%s (append %v): %v; want %s", o.Result, o.Append, o.Why, want)
		}
		return o
	}
	stranger := *first
	stranger.Checkpoint = strangersNote(t, Checkpoint{Origin: a.signer.Origin(), Size: 10})
	observe(&stranger, BadSignature, false)
	observe(&Document{Version: 1, Checkpoint: "x", Keys: first.Keys}, BadSignature, false)
	b.witness.Recorded(observe(first, First, true))
	observe(first, Unchanged, false)

	saw := sawAll(t, b, a)
	a.work(100)
	a.checkpoint()
	withoutProof, _ := compose(t, a, nil)
	observe(withoutProof, NoProof, false)
	// What was published is proven before anybody says that it was seen.
	if early, _ := compose(t, a, first); b.witness.Observe(early).Result != Consistent {
		t.Errorf("%+v", early)
	}
	next, disputes := compose(t, a, nil, saw)
	if len(disputes) > 0 || len(next.Proofs) != 1 {
		t.Fatalf("%+v %+v", next, disputes)
	}
	wrong := *next
	wrong.Proofs = []Continuation{{From: next.Proofs[0].From, Hashes: append(slices.Clone(next.Proofs[0].Hashes[1:]), tlog.Hash{})}}
	observe(&wrong, Forked, true)
	b.witness.Recorded(observe(next, Consistent, true))
	observe(first, Stale, false)

	// The same size and another root, signed by the log's own key.
	c, err := Unverified(next.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	forked := *next
	if forked.Checkpoint, err = a.signer.Checkpoint(c.Size, tlog.Hash{9}); err != nil {
		t.Fatal(err)
	}
	b.witness.Recorded(observe(&forked, Forked, true))
	observe(&forked, Forked, false) // it is on record, once

	// Who begins anew under the log's name, with keys of their own in the document.
	own := newNode(t, 7)
	stolen := *next
	stolen.Checkpoint, stolen.Keys = strings.ReplaceAll(own.newest, own.signer.Origin(), a.signer.Origin()), own.signer.Public()
	if o := b.witness.Observe(&stolen); o.Result != BadSignature {
		t.Errorf("%+v", o)
	}

	// After a restart, what counts is what is in the own log.
	var again Witness
	for _, e := range []struct {
		r    Result
		note string
	}{{First, first.Checkpoint}, {Consistent, next.Checkpoint}, {Forked, forked.Checkpoint}} {
		if err := again.Restore(e.r, e.note); err != nil {
			t.Fatal(err)
		}
	}
	if o := again.Observe(next); o.Result != Unchanged {
		t.Errorf("after a restart: %+v", o)
	}
	var third Witness // from what the second says that it has to remember
	for _, o := range again.Memory() {
		if err := third.Restore(o.Result, o.Note); err != nil {
			t.Fatal(err)
		}
	}
	if o := third.Observe(next); o.Result != Unchanged || !slices.Equal(third.Memory(), again.Memory()) {
		t.Errorf("after another: %+v, %+v", o, third.Memory())
	}
	if o := again.Observe(&forked); o.Result != Forked || o.Append {
		t.Errorf("after a restart: %+v", o)
	}
}

func TestAWitnessFollowsAKeyThatHandsOver(t *testing.T) {
	a, b := newNode(t, 1), newNode(t, 2)
	a.checkpoint()
	b.checkpoint()
	d, _ := compose(t, a, nil)
	b.witness.Recorded(b.witness.Observe(d))
	saw := sawAll(t, b, a)
	a.handOver()
	a.work(10)
	a.checkpoint()
	d, _ = compose(t, a, nil, saw)
	without := *d
	without.Handovers = nil
	if o := b.witness.Observe(&without); o.Result != BadSignature {
		t.Errorf("a key that nobody introduced: %+v", o)
	}
	if o := b.witness.Observe(d); o.Result != Consistent {
		t.Errorf("%s: %v", o.Result, o.Why)
	}
}

func TestAMemberIsToldThatItsOwnLogIsNotWhatOthersSaw(t *testing.T) {
	a, b := newNode(t, 1), newNode(t, 2)
	a.work(100)
	a.checkpoint()
	b.checkpoint()
	for name, change := range map[string]func(s *Seen){
		"more events": func(s *Seen) { s.Size += 1000 },
		"other root":  func(s *Seen) { s.Root[0] ^= 1 },
	} {
		saw := sawAll(t, b, a)
		change(&saw.Seen[0])
		if d, disputes := compose(t, a, nil, saw); len(disputes) != 1 || disputes[0].By != b.signer.Origin() || len(d.Proofs) != 0 {
			t.Errorf("%s: %+v %+v", name, disputes, d)
		}
	}
}

func TestWhatHasExpiredIsSaidToTheWitness(t *testing.T) {
	a, b := newNode(t, 1), newNode(t, 2)
	a.blocks = 1
	a.work(100)
	a.checkpoint()
	b.checkpoint()
	d, _ := compose(t, a, nil)
	b.witness.Recorded(b.witness.Observe(d))
	saw := sawAll(t, b, a)
	a.work(600)
	a.checkpoint()
	if err := a.tree.Forget(512); err != nil {
		t.Fatal(err)
	}
	d, disputes := compose(t, a, nil, saw)
	o := b.witness.Observe(d)
	if len(disputes) > 0 || o.Result != Expired || !o.Append {
		t.Fatalf("%s: %v, %v", o.Result, o.Why, disputes)
	}
	b.witness.Recorded(o)
	if o := b.witness.Observe(d); o.Result != Unchanged {
		t.Errorf("%s: %v", o.Result, o.Why)
	}
}

func TestADocumentIsBounded(t *testing.T) {
	a := newNode(t, 1)
	a.checkpoint()
	d, _ := compose(t, a, nil)
	for name, change := range map[string]func(d *Document){
		"version": func(d *Document) { d.Version = 2 },
		"keys":    func(d *Document) { d.Keys = nil },
		"proofs":  func(d *Document) { d.Proofs = make([]Continuation, 100) },
		"seen":    func(d *Document) { d.Seen = make([]Seen, 100) },
		"size":    func(d *Document) { d.Checkpoint = strings.Repeat("x", MaxDocument) },
		"hashes":  func(d *Document) { d.Proofs = []Continuation{{From: 1, Hashes: make([]tlog.Hash, 1000)}} },
	} {
		bad := *d
		change(&bad)
		if _, err := bad.Marshal(); err == nil {
			t.Errorf("%s: written", name)
		}
		data, err := json.Marshal(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseDocument(data); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzDocument(f *testing.F) {
	a, b := newNode(f, 1), newNode(f, 2)
	a.checkpoint()
	b.checkpoint()
	d, _, err := a.witness.Compose(a.log(), nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	data, err := d.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(bytes.Replace(data, []byte(`"keys"`), []byte(`"Keys"`), 1))
	f.Add(append(slices.Clone(data), ' '))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := ParseDocument(in)
		if err != nil {
			return
		}
		if out, err := got.Marshal(); err != nil || !bytes.Equal(out, in) {
			t.Errorf("%s: came back as %s, %v", in, out, err)
		}
		if o := b.witness.Observe(got); o.Append && o.Origin == a.signer.Origin() && got.Checkpoint != d.Checkpoint && !strings.HasPrefix(got.Checkpoint, strings.SplitAfter(d.Checkpoint, "\n\n")[0]) && slices.Contains(got.Keys, d.Keys[0]) && len(got.Keys) == 1 {
			t.Errorf("%s: accepted", in)
		}
	})
}
