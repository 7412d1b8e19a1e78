package keyring

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/kms/kmstest"
	"github.com/etcdguard/etcdguard/seal"
)

// A member that refuses what etcd holds has acknowledged another document of that
// generation, and not this one.
func TestAMemberThatRefusesTheRingDoesNotConfirmIt(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	one, two := c.seat(t, 1, p), c.seat(t, 2, p)
	k1, k2 := one.open(), two.open()
	eventually(t, "both acknowledgements", func() bool {
		missing, err := k1.missing(background(t), k1.Opened())
		return err == nil && missing == ""
	})
	other, err := k1.Opened().Export(background(t), kmstest.New("export"))
	check(t, err)
	one.stop()
	one.mirror += ".new"
	c.write(DocumentKey, other.Marshal())
	refusesWrites(t, k2, "not the one")
	k1 = one.open()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := k1.Step(ctx, Sealing, nil, nil); err == nil || !strings.Contains(err.Error(), "m2 (refuses writes") {
		t.Errorf("the step ended with %v, generation %d", err, c.document(t).Generation)
	}
	st, err := k1.Status(background(t))
	check(t, err)
	if st.Members[1].Confirmed {
		t.Error("the member that refuses is shown as one that confirmed")
	}
}

// The last value under an unknown key can be asked for when the ring goes.
func TestAnUnknownKeyWhenTheRingIsGone(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	s := c.seat(t, 1, p)
	k := s.open()
	check(t, k.Step(background(t), CanOpen, nil, nil))
	stranger := seal.NewKey(k.Opened().ID(), 77, &[32]byte{}).Seal(nil, []byte("a"), []byte("x"))
	asked := k.ring.inForce.Load()
	n, err := k.Opened().WithPhase(Off)
	check(t, err)
	_, revision, err := k.current(background(t))
	check(t, err)
	check(t, k.change(background(t), n, revision))
	s.stop() // it does not look by itself any more
	c.remove(DocumentKey)
	k.ring.inForce.Store(asked) // of a request that is on its way
	if _, err := k.Ring().Open([]byte("a"), stranger); err == nil {
		t.Error("it opened")
	}
}

// Members that are open without a ring write in plaintext, and none of them is asked
// before a ring is strict from birth. So only a cluster that never had a key is new.
func TestAnEmptiedClusterIsNotANewOne(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	k2 := c.seat(t, 2, p).open()
	w, err := k2.Ring().BeginWrite()
	check(t, err)
	defer w.Done()
	c.remove("/a")
	c.seat(t, 1, p).open()
	stored, err := w.Seal([]byte("/a"), []byte("again"))
	check(t, err)
	c.write("/a", stored)
	if c.value(DocumentKey) != nil && c.document(t).Phase == Strict {
		t.Errorf("%q is stored in a cluster that is strict", stored)
	}
}
