package evidence

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestAnEventIsProvenWithThePublicKeyAlone(t *testing.T) {
	l := newTestLog(t, 1)
	l.fill(900)
	l.handOver()
	l.fill(500)
	l.checkpoint()
	for _, without := range []string{"", sidecarOf(l.segmentOf(0)), sidecarOf(l.segmentOf(600))} {
		os.Remove(without)
		for _, n := range []int64{0, 1, 255, 256, 511, 512, 900, 1023, 1024, l.tree.Size() - 2} {
			p, err := ProveEvent(l.dir, n)
			if err != nil {
				t.Fatal(err)
			}
			data, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range l.signer.Public() {
				again, err := ParseEventProof(data)
				if err != nil {
					t.Fatal(err)
				}
				c, err := again.Check([]string{key})
				if err != nil || c.Size != l.tree.Size()-1 || c.Origin != l.signer.Origin() {
					t.Errorf("event %d with %s: %+v %v", n, key, c, err)
				}
			}
		}
	}
}

func TestAProofThatIsNoneIsRefused(t *testing.T) {
	l, other := newTestLog(t, 1), newTestLog(t, 2)
	l.fill(300)
	l.checkpoint()
	other.fill(300)
	other.checkpoint()
	keys := l.signer.Public()
	for name, change := range map[string]func(p *EventProof){
		"event":      func(p *EventProof) { p.Event = strings.Replace(p.Event, "2026", "2025", 1) },
		"number":     func(p *EventProof) { p.Number++ },
		"both":       func(p *EventProof) { p.Number++; p.Event = strings.Replace(p.Event, `"seq":77`, `"seq":78`, 1) },
		"path":       func(p *EventProof) { p.Proof[2][0] ^= 1 },
		"shorter":    func(p *EventProof) { p.Proof = p.Proof[1:] },
		"nothing":    func(p *EventProof) { p.Proof = nil },
		"checkpoint": func(p *EventProof) { p.Checkpoint = strings.Replace(p.Checkpoint, "\n3", "\n4", 1) },
		"other's":    func(p *EventProof) { p.Checkpoint, p.Keys = other.newest, other.signer.Public() },
		"no JSON":    func(p *EventProof) { p.Event = "{" },
	} {
		p, err := ProveEvent(l.dir, 77)
		l.must(err)
		if _, err := p.Check(keys); err != nil {
			t.Fatal(err)
		}
		change(p)
		if c, err := p.Check(keys); err == nil {
			t.Errorf("%s: accepted: %+v", name, c)
		}
	}
	p, err := ProveEvent(l.dir, 77)
	l.must(err)
	for _, trusted := range [][]string{nil, other.signer.Public(), {"x"}} {
		if _, err := p.Check(trusted); err == nil {
			t.Errorf("the proof is accepted with the keys %q", trusted)
		}
	}
}

func TestWhatCannotBeProvenSaysWhy(t *testing.T) {
	l := newTestLog(t, 1)
	l.fill(1200)
	if _, err := ProveEvent(l.dir, l.tree.Size()+10); err == nil || !strings.Contains(err.Error(), "checkpoint") {
		t.Errorf("%v", err)
	}
	l.checkpoint()
	if _, err := ProveEvent(l.dir, -1); err == nil {
		t.Error("event -1 is proven")
	}
	l.edit(600, remove)
	if _, err := ProveEvent(l.dir, 601); err == nil || !strings.Contains(err.Error(), "audit verify") {
		t.Errorf("%v", err)
	}
	os.Remove(l.segmentOf(0))
	if _, err := ProveEvent(l.dir, 3); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
}

func FuzzEventProof(f *testing.F) {
	l := newTestLog(f, 1)
	l.fill(30)
	l.checkpoint()
	p, err := ProveEvent(l.dir, 7)
	if err != nil {
		f.Fatal(err)
	}
	data, err := p.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"etcdguardAuditProof":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		q, err := ParseEventProof(data)
		if err != nil {
			return
		}
		if _, err := q.Check(l.signer.Public()); err == nil && (q.Event != p.Event || q.Number != p.Number) {
			t.Errorf("accepted: %s", data)
		}
	})
}
