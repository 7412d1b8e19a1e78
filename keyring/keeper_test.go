package keyring

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/kms/kmstest"
	"github.com/etcdguard/etcdguard/seal"
)

// seat is one member of a cluster: its store, its provider, its disk.
type seat struct {
	*member
	t         testing.TB
	providers []kms.Provider
	mirror    string
	settle    time.Duration
	probe     func(context.Context, MemberInfo) (bool, error)
	stop      context.CancelFunc
	log       *bytes.Buffer
}

func (c *cluster) seat(t testing.TB, id uint64, providers ...*kmstest.Memory) *seat {
	s := &seat{member: c.member(id), t: t, mirror: filepath.Join(t.TempDir(), "ring.json"), settle: time.Millisecond}
	for _, p := range providers {
		s.providers = append(s.providers, p)
	}
	return s
}

// lockedLog is a log that goroutines share.
type lockedLog struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// run starts a keeper, as a member that starts does.
func (s *seat) run() *Keeper {
	s.t.Helper()
	s.log = &bytes.Buffer{}
	k, err := NewKeeper(KeeperConfig{Store: s.member, Providers: s.providers, Mirror: s.mirror, Version: "test",
		Log: slog.New(slog.NewTextHandler(&lockedLog{b: s.log}, nil)), Settle: s.settle, PeerProbe: s.probe})
	check(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); k.Run(ctx) }()
	s.stop = func() { cancel(); <-ended }
	s.t.Cleanup(s.stop)
	return k
}

// open runs a keeper and waits until its door is open.
func (s *seat) open() *Keeper {
	s.t.Helper()
	k := s.run()
	if err := k.WaitOpen(background(s.t)); err != nil {
		s.t.Fatalf("the door of member %d stays shut: %v", s.id, err)
	}
	return k
}

// waiting is why the door stays shut.
func waiting(t testing.TB, k *Keeper, want ...string) {
	t.Helper()
	eventually(t, "a reason", func() bool { return k.Waiting() != nil })
	for _, text := range want {
		if !strings.Contains(k.Waiting().Error(), text) {
			t.Errorf("the reason leaves out %q: %v", text, k.Waiting())
		}
	}
	select {
	case <-k.Ready():
		t.Error("the door is open")
	default:
	}
}

func (c *cluster) document(t testing.TB) *Document {
	t.Helper()
	d, err := ParseDocument(c.value(DocumentKey))
	check(t, err)
	return d
}

// three are three members with the same provider, open.
func three(t testing.TB) (*cluster, *kmstest.Memory, []*seat, []*Keeper) {
	c, p := newCluster(t, "m1", "m2", "m3"), kmstest.New("local")
	var seats []*seat
	var keepers []*Keeper
	for id := uint64(1); id <= 3; id++ {
		seats = append(seats, c.seat(t, id, p))
		keepers = append(keepers, seats[id-1].run())
	}
	for _, k := range keepers {
		check(t, k.WaitOpen(background(t)))
	}
	return c, p, seats, keepers
}

// sealed is what a member stores for a value now.
func sealed(t testing.TB, k *Keeper, name, value string) []byte {
	t.Helper()
	w, err := k.Ring().BeginWrite()
	check(t, err)
	defer w.Done()
	stored, err := w.Seal([]byte(name), []byte(value))
	check(t, err)
	return stored
}

func opens(t testing.TB, k *Keeper, name string, stored []byte, want string) {
	t.Helper()
	got, err := k.Ring().Open([]byte(name), stored)
	if err != nil || string(got) != want {
		t.Errorf("member %x opens it as %q, %v", k.config.Store.MemberID(), got, err)
	}
}

func TestThreeMembersThatRaceMakeOneRing(t *testing.T) {
	for range 20 {
		c, _, _, keepers := three(t)
		if n := c.puts[DocumentKey]; n != 1 {
			t.Fatalf("the ring was stored %d times", n)
		}
		for _, k := range keepers {
			if k.Ring().Phase() != Strict {
				t.Errorf("member %d is in phase %v", k.config.Store.MemberID(), k.Ring().Phase())
			}
		}
		stored := sealed(t, keepers[0], "a", "secret")
		if bytes.Contains(stored, []byte("secret")) {
			t.Fatal("it is not sealed")
		}
		opens(t, keepers[2], "a", stored, "secret")
	}
}

func TestDataWithoutARingIsLeftAlone(t *testing.T) {
	c := newCluster(t, "m1")
	c.write("/registry/a", []byte("plain"))
	k := c.seat(t, 1, kmstest.New("local")).open()
	if k.Ring().Phase() != Off || k.Opened() != nil {
		t.Errorf("phase %v, %v", k.Ring().Phase(), k.Opened())
	}
	if got := sealed(t, k, "a", "plain"); string(got) != "plain" {
		t.Errorf("stored as %q", got)
	}
	if n := c.count(ReservedPrefix); n != 0 {
		t.Errorf("%d keys of its own in data that nobody had sealed", n)
	}
}

// A client that is faster than the ring keeps what it wrote, and the cluster its phase.
func TestAClientIsFasterThanTheRing(t *testing.T) {
	c := newCluster(t, "m1")
	s := c.seat(t, 1, kmstest.New("local"))
	s.onTxn(func(*pb.TxnRequest) error {
		if c.value("/a") == nil {
			c.write("/a", []byte("plain"))
		}
		return nil
	})
	if k := s.open(); k.Ring().Phase() != Off || c.value(DocumentKey) != nil {
		t.Errorf("phase %v over a value in plaintext", k.Ring().Phase())
	}
}

func TestALearnerMakesNoRing(t *testing.T) {
	c := newCluster(t, "m1")
	c.members[0].Learner = true
	c.seat(t, 1, kmstest.New("local")).open()
	if c.value(DocumentKey) != nil {
		t.Error("it made one")
	}
}

func TestUpAndDownAgain(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	one, two := c.seat(t, 1, p), c.seat(t, 2, p)
	k1, k2 := one.open(), two.open()
	var checked []Phase
	var told []string
	step := func(to Phase) {
		t.Helper()
		check(t, k1.Step(background(t), to, func(context.Context) error {
			checked = append(checked, c.document(t).Phase)
			return nil
		}, func(line string) { told = append(told, line) }))
	}
	step(Strict)
	if d := c.document(t); d.Phase != Strict || d.Generation != 3 {
		t.Errorf("generation %d, phase %v", d.Generation, d.Phase)
	}
	if k2.Ring().Phase() != Strict {
		t.Error("the other member was not waited for")
	}
	opens(t, k2, "x", sealed(t, k1, "x", "1"), "1")
	if _, err := k2.Ring().Open([]byte("a"), []byte("plain")); !errors.Is(err, ErrPlaintext) {
		t.Errorf("plaintext in strict: %v", err)
	}
	step(Off)
	if !slices.Equal(checked, []Phase{Sealing, CanOpen}) {
		t.Errorf("checked while in %v", checked)
	}
	if n := c.count(ReservedPrefix); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	eventually(t, "both at off", func() bool { return k1.Ring().Phase() == Off && k2.Ring().Phase() == Off && k2.Opened() == nil })
	for _, s := range []*seat{one, two} {
		if d, err := ReadMirror(s.mirror); err != nil || d == nil || d.Phase != Off {
			t.Errorf("the mirror is at %v, %v", d, err)
		}
	}
	first := told

	// And up again: another ring. The one before is kept, for what is in backups.
	step(CanOpen)
	if beside, _ := filepath.Glob(one.mirror + ".*"); !slices.ContainsFunc(beside, func(f string) bool { return !strings.HasSuffix(f, ".lock") }) {
		t.Errorf("the ring before was not kept: %v", beside)
	}
	if !slices.ContainsFunc(first, func(l string) bool { return strings.Contains(l, "strict, generation 3") }) {
		t.Errorf("nothing was said of the last step: %q", first)
	}
}

// A presence that is late must not outlive the ring: what sealing leaves behind is
// plain etcd data.
func TestNoPresenceWithoutARing(t *testing.T) {
	c := newCluster(t, "m1")
	c.write("/a", []byte("plain"))
	p := &presence{Keeper: c.seat(t, 1, kmstest.New("local")).open()}
	check(t, p.keepLease(background(t)))
	check(t, p.put(background(t), acknowledgement{Boot: "late"}))
	if n := c.count(ReservedPrefix); n != 0 {
		t.Errorf("%d keys of its own without a ring", n)
	}
}

func TestACheckStopsAStep(t *testing.T) {
	c := newCluster(t, "m1")
	c.write("/a", []byte("plain"))
	k := c.seat(t, 1, kmstest.New("local")).open()
	refused := errors.New("17 values are in plaintext")
	if err := k.Step(background(t), Strict, func(context.Context) error { return refused }, nil); !errors.Is(err, refused) {
		t.Errorf("the step: %v", err)
	}
	if d := c.document(t); d.Phase != Sealing {
		t.Errorf("phase %v", d.Phase)
	}
}

// A step is taken when everybody has confirmed the last: nobody who is down, who runs
// without etcdguard or who was not configured is passed over.
func TestAStepWaitsForEverybodyByName(t *testing.T) {
	c, p := newCluster(t, "m1", "m2", "m3"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	k1 := c.seat(t, 1, p).open()
	unconfigured := c.seat(t, 3)
	k3 := unconfigured.open()
	var mu sync.Mutex
	var told []string
	done := make(chan error, 1)
	go func() {
		done <- k1.Step(background(t), Sealing, nil, func(l string) { mu.Lock(); told = append(told, l); mu.Unlock() })
	}()
	last := func() string { mu.Lock(); defer mu.Unlock(); return strings.Join(told, "\n") }
	eventually(t, "the names of those that are missing", func() bool {
		return strings.Contains(last(), "m2 (not there") && strings.Contains(last(), "m3 (does not open the ring: no key provider is configured)")
	})
	if got := sealed(t, k3, "b", "plain"); string(got) != "plain" {
		t.Errorf("before anything is sealed the one that is not configured stores %q", got)
	}
	time.Sleep(3 * awaitLook)
	if d := c.document(t); d.Phase != CanOpen {
		t.Fatalf("phase %v with two members missing", d.Phase)
	}
	c.seat(t, 2, p).open()
	unconfigured.stop()
	unconfigured.providers = []kms.Provider{p}
	c.expire(3)
	unconfigured.open()
	check(t, <-done)
}

func TestACancelledStepSaysWhomItWaitedFor(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	k := c.seat(t, 1, p).open()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	err := k.Step(ctx, Strict, nil, nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "m2") {
		t.Errorf("the step ended with %v", err)
	}
	c.seat(t, 2, p).open()
	check(t, k.Step(background(t), Strict, nil, nil)) // it goes on where it was
}

// Nothing is acknowledged while a write that began under an older view may still
// reach the store.
func TestAWriteUnderAnOlderViewHoldsTheStepBack(t *testing.T) {
	for _, lost := range []bool{false, true} {
		c, p := newCluster(t, "m1"), kmstest.New("local")
		c.write("/a", []byte("plain"))
		s := c.seat(t, 1, p)
		s.settle = 700 * time.Millisecond
		k := s.open()
		w, err := k.Ring().BeginWrite()
		check(t, err)
		done := make(chan error, 1)
		go func() { done <- k.Step(background(t), Sealing, nil, nil) }()
		eventually(t, "the ring", func() bool { return c.value(DocumentKey) != nil })
		time.Sleep(900 * time.Millisecond) // longer than a member that has just started has to wait
		if d := c.document(t); d.Phase != CanOpen {
			t.Fatalf("phase %v while a write from before is under way", d.Phase)
		}
		if stored, err := w.Seal([]byte("k"), []byte("v")); err != nil || string(stored) != "v" {
			t.Errorf("the write changed its form on the way: %q, %v", stored, err)
		}
		if lost {
			w.Lost()
		}
		ended := time.Now()
		w.Done()
		check(t, <-done)
		if lost && time.Since(ended) < s.settle {
			t.Error("a write that etcd gave no answer to was not waited for")
		}
	}
}

// A member that was killed may have left a request on its way.
func TestAMemberThatStartsAmidAChangeWaitsBeforeItConfirms(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	s := c.seat(t, 1, p)
	k := s.open()
	check(t, k.Step(background(t), CanOpen, nil, nil))
	s.stop()
	// Killed between the change and the mirror.
	o, err := c.document(t).Open(background(t), s.providers, nil)
	check(t, err)
	n, err := o.WithPhase(Sealing)
	check(t, err)
	c.write(DocumentKey, n.doc.Marshal())
	c.expire(1)
	s.settle = 500 * time.Millisecond
	begun := time.Now()
	k = s.open()
	check(t, k.Step(background(t), Strict, nil, nil))
	if time.Since(begun) < s.settle {
		t.Error("it confirmed at once what the process before it may not have been through with")
	}
	// One that had confirmed before need not wait.
	s.stop()
	c.expire(1)
	s.settle = time.Hour
	k = s.open()
	if st, err := k.Status(background(t)); err != nil || !st.Members[0].Confirmed {
		t.Errorf("%+v, %v", st.Members, err)
	}
}

func TestRotation(t *testing.T) {
	c, _, _, keepers := three(t)
	before := sealed(t, keepers[0], "a", "old")
	n, err := keepers[0].AddKey(background(t))
	check(t, err)
	again, err := keepers[1].AddKey(background(t)) // who was killed runs it again, elsewhere perhaps
	check(t, err)
	if n != 2 || again != n {
		t.Fatalf("data keys %d and %d", n, again)
	}
	check(t, keepers[1].Activate(background(t), n, nil))
	check(t, keepers[0].Activate(background(t), n, nil))
	after := sealed(t, keepers[2], "a", "new")
	if e, err := seal.Parse(after); err != nil || e.Key != 2 {
		t.Errorf("sealed with %v, %v", e, err)
	}
	for _, k := range keepers {
		opens(t, k, "a", before, "old")
		opens(t, k, "a", after, "new")
	}
	if err := keepers[0].Remove(background(t), 2, nil); err == nil {
		t.Error("the active data key was removed")
	}
	check(t, keepers[0].Remove(background(t), 1, nil))
	check(t, keepers[2].Remove(background(t), 1, nil))
	if _, err := keepers[0].Ring().Open([]byte("a"), before); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("a value under a key that is gone: %v", err)
	}
	if err := keepers[0].Activate(background(t), 7, nil); err == nil {
		t.Error("a data key that is not there became active")
	}
	if d := c.document(t); d.Generation != 4 {
		t.Errorf("generation %d", d.Generation)
	}
}

// Whoever loses the race for one step goes on from what the other did.
func TestTwoOperatorsAtOnce(t *testing.T) {
	c, p := newCluster(t, "m1", "m2"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	keepers := []*Keeper{c.seat(t, 1, p).open(), c.seat(t, 2, p).open()}
	for _, to := range []Phase{Strict, Off, Strict} {
		var both sync.WaitGroup
		for _, k := range keepers {
			both.Go(func() {
				if err := k.Step(background(t), to, nil, nil); err != nil {
					t.Errorf("to %v: %v", to, err)
				}
			})
		}
		both.Wait()
	}
	var numbers [2]seal.KeyNumber
	var both sync.WaitGroup
	for i, k := range keepers {
		both.Go(func() {
			var err error
			if numbers[i], err = k.AddKey(background(t)); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if numbers != [2]seal.KeyNumber{2, 2} {
		t.Errorf("data keys %v", numbers)
	}
	if d := c.document(t); d.Generation != 4 || len(d.Keys) != 2 {
		t.Errorf("generation %d with %d data keys", d.Generation, len(d.Keys))
	}
}

// An etcd that fails, or that does what it is told and fails to say so, at any moment.
func TestAStepThatIsInterruptedAnywhereIsFinishedByTheNext(t *testing.T) {
	c, p := newCluster(t, "m1"), kmstest.New("local")
	c.write("/a", []byte("plain"))
	s := c.seat(t, 1, p)
	k := s.open()
	n := 0
	for _, to := range []Phase{Strict, Off, Strict} {
		for tries := 0; ; tries++ {
			left := tries % 7
			s.onTxn(func(r *pb.TxnRequest) error {
				if n++; left == 0 {
					return errDown
				}
				left--
				return nil
			})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := k.Step(ctx, to, nil, nil)
			cancel()
			if err == nil {
				break
			}
			if tries > 100 {
				t.Fatalf("it never gets to %v: %v", to, err)
			}
		}
		if k.Ring().Phase() != to {
			t.Errorf("phase %v, want %v", k.Ring().Phase(), to)
		}
	}
	if n < 10 {
		t.Errorf("only %d Txns seen", n)
	}
}

func TestClientsLeasesAreNotItsOwn(t *testing.T) {
	c := newCluster(t, "m1")
	c.seat(t, 1, kmstest.New("local")).open()
	for id := range c.leases {
		if !etcdapi.IsReservedLease(id) {
			t.Errorf("lease %x", id)
		}
	}
	if len(c.leases) == 0 {
		t.Error("there is none")
	}
}

func providersOf(all ...*kmstest.Memory) (out []kms.Provider) {
	for _, p := range all {
		out = append(out, p)
	}
	return out
}
