package keyring

import (
	"errors"
	"os"
	"testing"

	"github.com/etcdguard/etcdguard/kms/kmstest"
	"github.com/etcdguard/etcdguard/seal"
)

// Etcd's copy and the mirror are both gone: what is stored must not be taken for plain
// data, and an import brings it back without a restart.
func TestSealedDataWithoutItsRingIsNotServed(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	s := c.seat(t, 1, p)
	k := s.open()
	c.write("/registry/a", sealed(t, k, "/registry/a", "secret"))
	kept, ring := k.Document(), k.Document().Ring.String()
	s.stop()
	c.remove(DocumentKey)
	check(t, os.Remove(s.mirror))

	unconfigured := *s
	unconfigured.providers = nil
	waiting(t, unconfigured.run(), ring, "etcdguard ring import")
	unconfigured.stop()

	waiter := s.run()
	waiting(t, waiter, ring, "etcdguard ring import")
	if c.value(DocumentKey) != nil {
		t.Error("it began a new ring")
	}
	check(t, WriteMirror(s.mirror, kept))
	check(t, waiter.WaitOpen(background(t)))
	opens(t, waiter, "/registry/a", c.value("/registry/a"), "secret")
}

// The look at the start is at some values only; the others are looked at when they are
// asked for.
func TestWithoutARingNoSealedValueIsServedOrStored(t *testing.T) {
	ring := Static(seal.RingID{}, Off)
	stored := seal.NewKey(seal.RingID{1}, 1, &[32]byte{2}).Seal(nil, []byte("a"), []byte("secret"))
	if _, err := ring.Open([]byte("a"), stored); !errors.Is(err, ErrNoRing) {
		t.Errorf("opened: %v", err)
	}
	w, err := ring.BeginWrite()
	check(t, err)
	defer w.Done()
	if _, err := w.Seal([]byte("a"), stored); !errors.Is(err, ErrLooksSealed) {
		t.Errorf("stored: %v", err)
	}
	// Bytes that only begin alike are a client's own business here.
	alike := append([]byte(nil), stored...)
	alike[len(alike)-1] ^= 1
	if got, err := ring.Open([]byte("a"), alike); err != nil || string(got) != string(alike) {
		t.Errorf("bytes that begin alike: %q, %v", got, err)
	}
	if got, err := w.Seal([]byte("a"), alike); err != nil || string(got) != string(alike) {
		t.Errorf("bytes that begin alike: %q, %v", got, err)
	}
}
