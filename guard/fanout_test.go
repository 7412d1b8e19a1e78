package guard

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/keyring"
)

// What was opened for one name, revision and ciphertext is not shown for another.
func TestWhatWasOpenedIsNotShownForAnother(t *testing.T) {
	f := sealing(t, keyring.Strict)
	kv := stored(nextKey, "/k", "value", 12)
	if _, err := f.fanout.encode(kv, false); err != nil {
		t.Fatal(err)
	}
	flipped, moved, plain := proto.CloneOf(kv), proto.CloneOf(kv), proto.CloneOf(kv)
	flipped.Value[len(flipped.Value)-20] ^= 1
	moved.Key = b("/l")
	plain.Value = b("value")
	for name, other := range map[string]*mvccpb.KeyValue{"flipped": flipped, "moved": moved, "plaintext": plain} {
		if (&delivery{kv: kv, phase: keyring.Strict}).is(other, false, keyring.Strict) {
			t.Errorf("%s: taken for the other", name) // even where the hashes are equal
		}
		for range 2 {
			if got, err := f.fanout.encode(other, false); err == nil {
				t.Errorf("%s: shown as %v", name, got)
			}
		}
	}
	deleted, err := f.fanout.encode(kv, true)
	if err != nil || deleted.Size() != proto.Size(kv) {
		t.Errorf("a tombstone is opened: %v", err)
	}
}

// What is wrong may be put right: a key arrives, a phase changes.
func TestAFailureIsNotRemembered(t *testing.T) {
	f := newFixture(t)
	f.useRing(keyring.Static(testRing, keyring.Strict, firstKey))
	kv := stored(nextKey, "/k", "value", 12)
	if _, err := f.fanout.encode(kv, false); err == nil {
		t.Fatal("it opened without its key")
	}
	f.fanout.ring = keyring.Static(testRing, keyring.Strict, firstKey, nextKey)
	if _, err := f.fanout.encode(kv, false); err != nil {
		t.Error(err)
	}

	plain := &mvccpb.KeyValue{Key: b("/p"), ModRevision: 3, Value: b("plain")}
	f.fanout.ring = keyring.Static(testRing, keyring.Sealing, nextKey)
	if _, err := f.fanout.encode(plain, false); err != nil {
		t.Error(err)
	}
	f.fanout.ring = keyring.Static(testRing, keyring.Strict, nextKey)
	if _, err := f.fanout.encode(plain, false); err == nil {
		t.Error("what was shown while sealing is shown in strict")
	}
}

// remembered are the deliveries that a fanout keeps, and their bytes.
func (f *fanout) remembered() (n int, size int64) {
	g := f.now.Load()
	for _, generation := range []*generation{g.young, g.old} {
		generation.entries.Range(func(_, v any) bool {
			d := v.(*delivery)
			n, size = n+1, size+int64(len(d.kv.Value)+d.encoded.Size())
			return true
		})
	}
	return n, size
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	f := sealing(t, keyring.Strict)
	f.fanout.armed = true // not by time here
	for i := range int64(200) {
		kv := stored(nextKey, "/k", strings.Repeat("v", 300<<10), i)
		if _, err := f.fanout.encode(kv, false); err != nil {
			t.Fatal(err)
		}
		if n, size := f.fanout.remembered(); size > 2*fanoutBytes+2<<20 || n == 0 {
			t.Fatalf("%d values of %d bytes are kept", n, size)
		}
	}
}

func TestPlaintextIsForgotten(t *testing.T) {
	f := sealing(t, keyring.Strict)
	f.fanout.age = 1
	if _, err := f.fanout.encode(stored(nextKey, "/k", "value", 1), false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all to be forgotten", func() bool { n, _ := f.fanout.remembered(); return n == 0 })
	eventually(t, "the timer to rest", func() bool { f.fanout.mu.Lock(); defer f.fanout.mu.Unlock(); return !f.fanout.armed })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 3000 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never: " + what)
}
