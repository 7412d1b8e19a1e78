package keyring

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/kms/kmstest"
	"github.com/etcdguard/etcdguard/seal"
)

// Who waits for an older view to have no writes left must not be overtaken by one that
// looked at it before and begins under it after.
func TestNoWriteBeginsUnderAViewThatWasWaitedFor(t *testing.T) {
	r := newRing(nil)
	before := &view{phase: CanOpen}
	r.inForce.Store(before)
	if !r.enter(before) {
		t.Fatal("a view that is in force is not entered")
	}
	Write{before}.Done()
	r.inForce.Store(&view{phase: Sealing}) // after a writer has looked, before it enters
	if r.enter(before) {
		t.Error("a write begins under a view that is over")
	}
	if n := before.writes.Load(); n != 0 {
		t.Errorf("%d writes are counted under a view that nobody is in", n)
	}
	w, err := r.BeginWrite()
	check(t, err)
	if w.view.phase != Sealing {
		t.Errorf("a write begins in phase %v", w.view.phase)
	}
}

// A read that is slow took the value from etcd while it was in the form of the phase
// before. It is answered, and one that begins after that is over is not.
func TestAReadThatBeganUnderAnOlderViewIsAnswered(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	s := c.seat(t, 1, p)
	s.settle = 2 * time.Second
	k := s.open()
	soon := func(name string, stored []byte, want string) {
		t.Helper()
		got, err := k.Ring().Open([]byte(name), stored)
		if err != nil || string(got) != want {
			t.Errorf("in phase %v it is read as %q, %v", k.Ring().Phase(), got, err)
		}
		if got, err = k.Ring().Append(nil, []byte(name), stored); err != nil || string(got) != want {
			t.Errorf("in phase %v it is appended as %q, %v", k.Ring().Phase(), got, err)
		}
	}
	late := func(name string, stored []byte, want error) {
		t.Helper()
		eventually(t, "an error", func() bool {
			_, err := k.Ring().Open([]byte(name), stored)
			return errors.Is(err, want)
		})
	}
	check(t, k.Step(background(t), Strict, nil, nil))
	soon("/a", []byte("plain"), "plain")
	late("/a", []byte("plain"), ErrPlaintext)

	first := sealed(t, k, "/a", "1")
	number, err := k.AddKey(background(t))
	check(t, err)
	check(t, k.Activate(background(t), number, nil))
	check(t, k.Remove(background(t), 1, nil))
	soon("/a", first, "1")
	late("/a", first, seal.ErrUnknownKey)

	second := sealed(t, k, "/a", "2")
	check(t, k.Step(background(t), Off, nil, nil))
	soon("/a", second, "2")
	late("/a", second, ErrNoRing)
}

func TestNoOlderViewIsKept(t *testing.T) {
	r := newRing(nil)
	for range 1000 {
		r.replace(&view{phase: Strict}, 0)
	}
	if n := len(*r.past.Load()); n != 1 {
		t.Errorf("%d views are kept", n)
	}
}

func TestAChangeToWhatIsNoMoreThereIsLost(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	k := c.seat(t, 1, p).open()
	o, revision, err := k.current(background(t))
	check(t, err)
	first, err := o.WithPhase(Sealing)
	check(t, err)
	check(t, k.change(background(t), first, revision))
	second, err := o.WithNewKey(background(t), k.config.Providers, time.Now())
	check(t, err)
	if err := k.change(background(t), second, revision); !errors.Is(err, errOvertaken) {
		t.Errorf("the second change: %v", err)
	}
	if d := c.document(t); d.Phase != Sealing || len(d.Keys) != 1 {
		t.Errorf("etcd has phase %v, %d data keys", d.Phase, len(d.Keys))
	}
	if err := k.clear(background(t), revision); !errors.Is(err, errOvertaken) {
		t.Errorf("clearing away a ring that moved on: %v", err)
	}
}

// Between the look at an older document and giving etcd the newer one, another member
// may have done the same, and gone on.
func TestPuttingBackDoesNotUndoWhatAnotherMemberDid(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	s := c.seat(t, 1, p)
	k := s.open()
	first := c.value(DocumentKey)
	check(t, k.Step(background(t), Sealing, nil, nil))
	check(t, k.Step(background(t), CanOpen, nil, nil))
	later, err := k.Opened().WithPhase(Sealing)
	check(t, err)
	s.stop()
	c.write(DocumentKey, first)
	var once sync.Once
	s.onTxn(func(r *pb.TxnRequest) error {
		if put := r.Success[0].GetRequestPut(); put != nil && string(put.Key) == DocumentKey {
			once.Do(func() { c.write(DocumentKey, later.doc.Marshal()) })
		}
		return nil
	})
	k = s.open()
	if d := c.document(t); d.Generation != later.Generation() || k.Opened().Generation() != later.Generation() {
		t.Errorf("etcd has generation %d, and the member %d", d.Generation, k.Opened().Generation())
	}
}

// What is sealed with a new data key must open on every member.
func TestADataKeyBecomesActiveWhenEverybodyHasIt(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	two := c.seat(t, 2, p)
	k1 := c.seat(t, 1, p).open()
	two.open()
	two.stop()
	number, err := k1.AddKey(background(t))
	check(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := k1.Activate(ctx, number, nil); err == nil || !strings.Contains(err.Error(), "m2") {
		t.Errorf("it became active without m2: %v", err)
	}
	if d := c.document(t); d.Keys[1].State != Prepare {
		t.Errorf("it is %v", d.Keys[1].State)
	}
	c.expire(2)
	two.open()
	check(t, k1.Activate(background(t), number, nil))
}

func TestConfirms(t *testing.T) {
	d := &Document{Ring: seal.RingID{1}, Generation: 4}
	one, two := seal.RingID{1}, seal.RingID{2}
	for _, tt := range []struct {
		a    acknowledgement
		want bool
	}{
		{acknowledgement{Ring: &one, Generation: 4}, true},
		{acknowledgement{Ring: &one, Generation: 3}, false},
		{acknowledgement{Ring: &one, Generation: 5}, false},
		{acknowledgement{Ring: &two, Generation: 4}, false},
		{acknowledgement{Generation: 4}, false},
		{acknowledgement{Ring: &one, Generation: 4, Waiting: "refuses writes"}, false},
	} {
		if got := tt.a.confirms(d); got != tt.want {
			t.Errorf("%+v confirms: %v", tt.a, got)
		}
	}
}

// A guarded member that was down answers on its peer port before it can say that it is
// there.
func TestAMemberThatJustStartsIsNoAlarm(t *testing.T) {
	t.Parallel()
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	s := c.seat(t, 1, p)
	var asked atomic.Int64
	s.probe = func(context.Context, MemberInfo) (bool, error) { return asked.Add(1)%3 != 0, nil }
	s.open()
	eventually(t, "a few looks", func() bool { return asked.Load() >= 5 })
	s.stop()
	if text := s.log.String(); strings.Contains(text, "runs without etcdguard") {
		t.Errorf("the log:\n%s", text)
	}
}

// A data key that came while a request waited for the look is there.
func TestReloadFindsWhatCameMeanwhile(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	k := c.seat(t, 1, p).open()
	if !k.reload(1) {
		t.Error("a data key that is open was not found")
	}
	if k.reload(2) {
		t.Error("a data key that nobody has was found")
	}
}
