package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/kms/kmstest"
	"github.com/etcdguard/etcdguard/seal"
)

var errOutage = errors.New("the provider is away")

func refusesWrites(t testing.TB, k *Keeper, because string) {
	t.Helper()
	eventually(t, "a refusal of writes", func() bool {
		w, err := k.Ring().BeginWrite()
		if err == nil {
			w.Done()
		}
		return err != nil && strings.Contains(err.Error(), because)
	})
}

func takesWrites(t testing.TB, k *Keeper) {
	t.Helper()
	eventually(t, "writes to be taken again", func() bool {
		w, err := k.Ring().BeginWrite()
		if err == nil {
			w.Done()
		}
		return err == nil
	})
}

// TestAnOutageOfTheProviders: members that run go on. One that is given a data key that
// it can't unwrap reads with what it has, and writes nothing until it can.
func TestAnOutageOfTheProviders(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	mine := kmstest.New("mine") // m2's provider; it wraps what m1 makes only through p
	k1 := c.seat(t, 1, p, mine).open()
	k2 := c.seat(t, 2, mine).open()
	before := sealed(t, k1, "a", "1")
	mine.FailDecrypt(true)
	opens(t, k2, "a", before, "1")
	takesWrites(t, k2)

	// m1 alone sees p: it makes a key that m2 can't unwrap.
	mine.FailDecrypt(false)
	o := k1.Opened()
	n, err := o.WithNewKey(background(t), k1.config.Providers, time.Now())
	check(t, err)
	mine.FailDecrypt(true)
	c.write(DocumentKey, n.doc.Marshal())
	refusesWrites(t, k2, `provider "mine", key id`)
	opens(t, k2, "a", before, "1")
	st, err := k2.Status(background(t))
	check(t, err)
	if st.InForce != 1 || st.Generation != 2 || !strings.Contains(st.Refusal, "data key 2 opens with no provider") {
		t.Errorf("status: in force %d, generation %d, refusal %q", st.InForce, st.Generation, st.Refusal)
	}
	mine.FailDecrypt(false)
	takesWrites(t, k2)
	check(t, k1.Activate(background(t), 2, nil))
	opens(t, k2, "a", sealed(t, k1, "a", "2"), "2")
}

func TestAForgedRingIsNotTakenOver(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	k := c.seat(t, 1, p).open()
	genuine := c.value(DocumentKey)
	value := sealed(t, k, "a", "1")
	forged := c.document(t)
	forged.Phase, forged.Generation = Off, 9
	c.write(DocumentKey, forged.Marshal())
	refusesWrites(t, k, "altered or forged")
	opens(t, k, "a", value, "1")
	if k.Ring().Phase() != Strict {
		t.Errorf("phase %v", k.Ring().Phase())
	}
	c.write(DocumentKey, []byte("{}"))
	refusesWrites(t, k, "reading a ring's document")
	c.write(DocumentKey, genuine)
	takesWrites(t, k)
}

// A ring that etcd lost, or of which it has an older state, is given back to it by
// whoever knows better: no phase turns back by that.
func TestWhatEtcdHasLostIsPutBack(t *testing.T) {
	for name, lose := range map[string]func(c *cluster, first []byte){
		"lost":     func(c *cluster, _ []byte) { c.remove(DocumentKey) },
		"restored": func(c *cluster, first []byte) { c.write(DocumentKey, first) },
	} {
		for _, running := range []bool{true, false} {
			c, p := newCluster(t, "m1"), kmstest.New("local")
			c.write("/a", []byte("plain"))
			s := c.seat(t, 1, p)
			k := s.open()
			check(t, k.Step(background(t), CanOpen, nil, nil))
			first := c.value(DocumentKey)
			check(t, k.Step(background(t), Strict, nil, nil))
			last := c.value(DocumentKey)
			if !running {
				s.stop()
			}
			lose(c, first)
			if !running {
				k = s.open()
			}
			eventually(t, "the ring to come back", func() bool { return bytes.Equal(c.value(DocumentKey), last) })
			if k.Ring().Phase() != Strict {
				t.Errorf("%s, running %v: phase %v", name, running, k.Ring().Phase())
			}
			takesWrites(t, k)
		}
	}
}

// The mirror may go back into etcd only if it is genuine.
func TestAForgedMirrorGoesNowhere(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	s := c.seat(t, 1, p)
	s.open()
	s.stop()
	d := c.document(t)
	d.Phase, d.Generation = CanOpen, 9
	check(t, os.WriteFile(s.mirror, d.Marshal(), 0o600))
	k := s.run()
	waiting(t, k, "altered or forged")
	if now := c.document(t); now.Generation != 1 {
		t.Errorf("etcd has generation %d", now.Generation)
	}
	// Not even where etcd has nothing.
	c.remove(DocumentKey)
	time.Sleep(100 * time.Millisecond)
	if c.value(DocumentKey) != nil {
		t.Error("etcd was given a forged ring, or a new one")
	}
}

func TestAnUnreadableMirrorIsNoLicenceToBeginAnew(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	s := c.seat(t, 1, p)
	check(t, os.WriteFile(s.mirror, []byte("{torn"), 0o600))
	k := s.run()
	waiting(t, k, s.mirror)
	if c.value(DocumentKey) != nil {
		t.Error("a new ring was made over an unreadable one")
	}
}

func TestAnotherRing(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	s := c.seat(t, 1, p)
	s.open()
	s.stop()
	other, err := Create(background(t), Strict, s.providers, time.Now())
	check(t, err)
	c.write(DocumentKey, other.doc.Marshal())
	waiting(t, s.run(), other.ID().String(), s.mirror, "move the mirror")
}

func TestJudgeDocuments(t *testing.T) {
	ring := func(id byte, generation uint64, phase Phase) *Document {
		return &Document{Ring: seal.RingID{id}, Generation: generation, Phase: phase}
	}
	for name, tt := range map[string]struct {
		stored, last *Document
		want         judgement
		err          string
	}{
		"nothing":                           {nil, nil, noRing, ""},
		"a first start":                     {ring(1, 4, Strict), nil, adoptStored, ""},
		"as it was":                         {ring(1, 4, Strict), ring(1, 4, Strict), adoptStored, ""},
		"it went on":                        {ring(1, 5, Sealing), ring(1, 4, Strict), adoptStored, ""},
		"it went on to off":                 {ring(1, 5, Off), ring(1, 4, CanOpen), adoptStored, ""},
		"etcd is older":                     {ring(1, 3, CanOpen), ring(1, 4, Sealing), putBack, ""},
		"etcd is older, at off":             {ring(1, 3, Off), ring(1, 4, CanOpen), putBack, ""},
		"etcd has none":                     {nil, ring(1, 4, Sealing), putBack, ""},
		"etcd has none, and it was off":     {nil, ring(1, 4, Off), noRing, ""},
		"restored from before off":          {ring(1, 3, Strict), ring(1, 9, Off), adoptStored, ""},
		"begun anew after off":              {ring(2, 1, CanOpen), ring(1, 9, Off), adoptStored, ""},
		"another ring":                      {ring(2, 9, Strict), ring(1, 4, CanOpen), 0, "another"},
		"another ring, at off":              {ring(2, 9, Off), ring(1, 4, CanOpen), 0, "another"},
		"two of one generation":             {ring(1, 4, Sealing), ring(1, 4, CanOpen), 0, "not the one"},
		"off, and two of one generation":    {ring(1, 4, Sealing), ring(1, 4, Off), 0, "not the one"},
		"off, and it went on":               {ring(1, 5, CanOpen), ring(1, 4, Off), adoptStored, ""},
		"off as it was":                     {ring(1, 4, Off), ring(1, 4, Off), adoptStored, ""},
		"a first start in a cluster at off": {ring(1, 4, Off), nil, adoptStored, ""},
	} {
		got, err := judgeDocuments(tt.stored, tt.last, "MIRROR")
		if got != tt.want || (err == nil) != (tt.err == "") {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}

func TestAMemberWithoutProviders(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	c.seat(t, 1, p).open()
	two := c.seat(t, 2)
	waiting(t, two.run(), `provider "local", key id`, "sealing.providers", "strict")
	eventually(t, "its presence", func() bool { return c.value(memberKey(2)) != nil })
	if !strings.Contains(string(c.value(memberKey(2))), "no key provider is configured") {
		t.Errorf("it says of itself %s", c.value(memberKey(2)))
	}

	// Nor may one that served before the ring was there go on in the clear.
	empty := newCluster(t, "m1", "m2")
	k2 := empty.seat(t, 2).open()
	empty.seat(t, 1, p).open()
	refusesWrites(t, k2, "sealing.providers")
	if _, err := k2.Ring().Open([]byte("a"), sealed(t, mustOpen(t, empty, p), "a", "1")); err == nil {
		t.Error("it hands out a sealed value")
	}
}

// mustOpen is one more keeper of a cluster, for what it seals.
func mustOpen(t testing.TB, c *cluster, p *kmstest.Memory) *Keeper { return c.seat(t, 1, p).open() }

// A ring that is imported, as a mirror, into a member that waits opens it.
func TestAnImportIsNoticedByAMemberThatWaits(t *testing.T) {
	t.Parallel()
	c, lost, left := newCluster(t, "m1"), kmstest.New("lost"), kmstest.New("left")
	s := c.seat(t, 1, lost)
	k := s.open()
	value := sealed(t, k, "a", "1")
	export, err := k.Export(background(t), left)
	check(t, err)
	s.stop()
	check(t, os.Remove(s.mirror))
	// What etcd goes on to, only the lost provider opens: else the member would not wait.
	before, err := k.Document().Open(background(t), s.providers, nil)
	check(t, err)
	later, err := before.WithPhase(Sealing)
	check(t, err)
	lost.Fail(errOutage)
	for name, revive := range map[string]func(*Opened) (*Document, error){
		"as the next generation": func(o *Opened) (*Document, error) {
			n, err := o.Rewrapped(background(t), s.providers, "lost")
			if err != nil {
				return nil, err
			}
			return n.Document(), nil
		},
		"etcd went on since": func(o *Opened) (*Document, error) {
			c.write(DocumentKey, later.doc.Marshal())
			return o.Document(), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.remove(DocumentKey)
			c.write(DocumentKey, k.Document().Marshal())
			s.t, s.providers = t, providersOf(left)
			waiter := s.run()
			waiting(t, waiter, `provider "lost", key id`)
			o, err := export.Open(background(t), s.providers, nil)
			check(t, err)
			d, err := revive(o)
			check(t, err)
			check(t, WriteMirror(s.mirror, d))
			check(t, waiter.WaitOpen(background(t)))
			opens(t, waiter, "a", value, "1")
			s.stop()
			check(t, os.Remove(s.mirror))
		})
	}
}

func TestPresence(t *testing.T) {
	t.Parallel()
	c, p := newCluster(t, "m1"), kmstest.New("local")
	s := c.seat(t, 1, p)
	k := s.open()
	said := func() (a acknowledgement) {
		t.Helper()
		check(t, json.Unmarshal(c.value(memberKey(1)), &a))
		return a
	}
	first := said()
	if first.Generation != 1 || first.Phase != Strict || first.Boot == "" || *first.Ring != k.Opened().ID() {
		t.Errorf("it says %+v", first)
	}
	revision := c.revision
	eventually(t, "renewals", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, n := range c.renewals {
			if n >= 2 {
				return true
			}
		}
		return false
	})
	if c.revision != revision {
		t.Errorf("keeping the lease alive took %d revisions", c.revision-revision)
	}
	c.expire(1) // a long pause, or a change of leaders
	eventually(t, "its presence again", func() bool { return c.value(memberKey(1)) != nil })
	if again := said(); again.Boot != first.Boot || again.Generation != 1 {
		t.Errorf("it says %+v", again)
	}
	takesWrites(t, k)
	s.stop()
	c.expire(1)
	s.open()
	if said().Boot == first.Boot {
		t.Error("another start has the same boot nonce")
	}
}

func TestAMemberThatRunsWithoutEtcdguardIsNoticed(t *testing.T) {
	t.Parallel()
	c, p := newCluster(t, "m1", "stock", "down"), kmstest.New("local")
	s := c.seat(t, 1, p)
	s.probe = func(_ context.Context, m MemberInfo) (bool, error) {
		return m.Name == "stock", nil
	}
	k := s.open()
	eventually(t, "the alarm", func() bool { return k.running.count() == 1 })
	st, err := k.Status(background(t))
	check(t, err)
	for _, m := range st.Members {
		if m.Unguarded != (m.Name == "stock") || m.Guarded != (m.Name == "m1") {
			t.Errorf("%+v", m)
		}
	}
	c.seat(t, 2, p).open() // etcdguard is put back
	eventually(t, "the end of the alarm", func() bool { return k.running.count() == 0 })
	s.stop()
	if text := s.log.String(); strings.Count(text, "runs without etcdguard") != 1 || !strings.Contains(text, "does so no more") {
		t.Errorf("the log:\n%s", text)
	}
}

// Raft brings the ring before the value; a request must not fail because its member
// has not looked yet.
func TestAValueUnderANewKeyMakesTheMemberLook(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	one, two := c.seat(t, 1, p), c.seat(t, 2, p)
	k1, k2 := one.open(), two.open()
	two.stop() // it follows no more, and still serves
	n, err := k1.Opened().WithNewKey(background(t), k1.config.Providers, time.Now())
	check(t, err)
	n, err = n.WithActive(2)
	check(t, err)
	c.write(DocumentKey, n.doc.Marshal())
	eventually(t, "the new key", func() bool { return k1.Opened().Generation() == 3 })
	opens(t, k2, "a", sealed(t, k1, "a", "1"), "1")

	// A key that nobody has is looked for, and is an error.
	stranger := seal.NewKey(k1.Opened().ID(), 77, &[32]byte{})
	if _, err := k2.Ring().Open([]byte("a"), stranger.Seal(nil, []byte("a"), []byte("x"))); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("a key that nobody has: %v", err)
	}
}

func TestEtcdBeingAwayIsNotTheRingsFault(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	s := c.seat(t, 1, p)
	k := s.open()
	s.fail(errDown)
	if err := k.look(background(t)); err == nil {
		t.Error("the look succeeded")
	}
	takesWrites(t, k)
	s.fail(nil)
	check(t, k.look(background(t)))
}

func TestProvidersAreAskedOnATimerAndOnTheWayOut(t *testing.T) {
	c, a, b := newCluster(t, "m1"), kmstest.New("a"), kmstest.New("b")
	k := c.seat(t, 1, a, b).open()
	b.Fail(errOutage)
	k.askProviders(background(t))
	st, err := k.Status(background(t))
	check(t, err)
	if len(st.Providers) != 2 || !st.Providers[0].Healthy || st.Providers[1].Healthy || st.Providers[1].Problem == "" {
		t.Errorf("%+v", st.Providers)
	}
	// A ring needs every provider to be made, and any to be opened.
	if _, err := k.AddKey(background(t)); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("a data key that one of two wrapped: %v", err)
	}
}
