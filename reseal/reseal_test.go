package reseal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

func config(w *world, r *keyring.Ring, want Form) Config {
	return Config{Store: w.store, Ring: r, Range: Prefix(""), Want: want, unpaced: true}
}

// TestValuesOfEveryKindAreRewritten: plaintext, old keys, empty and large values, in
// each direction; what has the form already stays as it is.
func TestValuesOfEveryKindAreRewritten(t *testing.T) {
	for _, test := range []struct {
		name  string
		phase keyring.Phase
		want  Form
	}{
		{"up", keyring.Sealing, under(2)},
		{"to a new key in strict", keyring.Strict, under(2)},
		{"down", keyring.CanOpen, Form{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			expect := map[string]string{}
			rewrites, keep := int64(0), map[string]int64{}
			for i := range 200 {
				name, value := fmt.Sprintf("/k/%03d", i), strings.Repeat("v", i*37%5000)
				var at int64
				var form Form
				switch n := i % 3; {
				case n == 0 && test.phase != keyring.Strict:
					at = w.put(name, value)
				case n == 1:
					at, form = w.putSealed(2, name, value), under(2)
				default:
					at, form = w.putSealed(1, name, value), under(1)
				}
				if expect[name] = value; form == test.want {
					keep[name] = at
				} else {
					rewrites++
				}
			}
			r := ring(test.phase, 2)
			result, err := Run(ctx(t), config(w, r, test.want))
			check(t, err)
			if result.Rewritten != rewrites || result.Seen != 200 || result.Raced != 0 || result.Problems != 0 {
				t.Errorf("rewrote %+v, want %d", result.Progress, rewrites)
			}
			w.allAre(test.want)
			if got := w.all(r); !maps.Equal(got, expect) {
				t.Errorf("the values are others")
			}
			for name, at := range keep {
				found, err := w.Get(ctx(t), name)
				check(t, err)
				if found.Kvs[0].ModRevision != at {
					t.Errorf("%s was rewritten without need", name)
				}
			}
			again, err := Run(ctx(t), config(w, r, test.want))
			if err != nil || again.Rewritten != 0 || again.Seen != 200 {
				t.Errorf("a second run: %+v, %v", again.Progress, err)
			}
		})
	}
}

// TestEachValueHasARevisionOfItsOwn: Kubernetes' watches resume between revisions.
func TestEachValueHasARevisionOfItsOwn(t *testing.T) {
	w := newWorld(t)
	for i := range 100 {
		w.put(fmt.Sprintf("/k/%03d", i), "v")
	}
	_, err := Run(ctx(t), config(w, ring(keyring.Sealing, 1), under(1)))
	check(t, err)
	found, err := w.Get(ctx(t), "/k/", clientv3.WithPrefix())
	check(t, err)
	seen := map[int64]bool{}
	for _, kv := range found.Kvs {
		if seen[kv.ModRevision] {
			t.Errorf("two values at revision %d", kv.ModRevision)
		}
		if seen[kv.ModRevision] = true; kv.Version != 2 {
			t.Errorf("%s was written %d times", kv.Key, kv.Version)
		}
	}
}

func TestOnlyThePrefixIsRewritten(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"/a", "/a/1", "/a/2", "/a0", "/b/1", "\xff\xffz", "\xff\xff\xff"} {
		w.put(name, "plain")
	}
	w.put("\x00etcdguard/x", "reserved")
	for _, test := range []struct {
		prefix string
		want   int64
	}{{"/a/", 2}, {"\xff\xff", 2}, {"/none/", 0}, {"", 3}, {"", 0}} {
		c := config(w, ring(keyring.Sealing, 1), under(1))
		c.Range = Prefix(test.prefix)
		if result, err := Run(ctx(t), c); err != nil || result.Rewritten != test.want {
			t.Errorf("%q: %d rewritten, want %d (%v)", test.prefix, result.Rewritten, test.want, err)
		}
	}
	reserved, err := w.Get(ctx(t), "\x00etcdguard/x")
	check(t, err)
	if string(reserved.Kvs[0].Value) != "reserved" {
		t.Error("etcdguard's own key was rewritten")
	}
}

func TestLeasesAreKept(t *testing.T) {
	w := newWorld(t)
	long, err := w.Grant(ctx(t), 3600)
	check(t, err)
	w.put("/leased", "v", clientv3.WithLease(long.ID))
	w.put("/free", "v")
	_, err = Run(ctx(t), config(w, ring(keyring.Sealing, 1), under(1)))
	check(t, err)
	w.allAre(under(1))
	found, err := w.Get(ctx(t), "/leased")
	check(t, err)
	if found.Kvs[0].Lease != int64(long.ID) || found.Kvs[0].Version != 2 {
		t.Errorf("lease %x, want %x", found.Kvs[0].Lease, long.ID)
	}
	left, err := w.TimeToLive(ctx(t), long.ID, clientv3.WithAttachedKeys())
	check(t, err)
	if len(left.Keys) != 1 || string(left.Keys[0]) != "/leased" {
		t.Errorf("the lease has the keys %q", left.Keys)
	}
	_, err = w.Revoke(ctx(t), long.ID)
	check(t, err)
	if got := w.all(ring(keyring.Strict, 1)); len(got) != 1 || got["/free"] != "v" {
		t.Errorf("after the lease %v is left", got)
	}
}

// between is a Store before whose Txns something happens.
type between struct {
	Store
	before func(*pb.TxnRequest) error
}

func (b between) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := b.before(r); err != nil {
		return nil, err
	}
	return b.Store.Txn(ctx, r)
}

// TestALostRaceLosesNothing: whatever a client does to a key between the reading and
// the writing is what stays.
func TestALostRaceLosesNothing(t *testing.T) {
	w := newWorld(t)
	lease, err := w.Grant(ctx(t), 3600)
	check(t, err)
	short, err := w.Grant(ctx(t), 3600)
	check(t, err)
	w.put("/deleted", "v")
	w.put("/sealed", "v")
	w.put("/plaintext", "v") // by a member that is still in the phase before
	w.put("/kept-value", "v")
	w.put("/lease-gone", "v", clientv3.WithLease(short.ID))
	w.put("/quiet", "v")
	did := map[string]bool{}
	var mu sync.Mutex
	store := between{w.store, func(r *pb.TxnRequest) error {
		mu.Lock()
		defer mu.Unlock()
		name := string(r.Compare[0].Key)
		if did[name] {
			return nil
		}
		did[name] = true
		var err error
		switch name {
		case "/deleted":
			_, err = w.Delete(ctx(t), name)
		case "/sealed":
			w.putSealed(1, name, "new")
		case "/plaintext":
			w.put(name, "new")
		case "/kept-value":
			w.put(name, "", clientv3.WithIgnoreValue(), clientv3.WithLease(lease.ID))
		case "/lease-gone":
			_, err = w.Revoke(ctx(t), short.ID)
		}
		return err
	}}
	c := config(w, ring(keyring.Sealing, 1), under(1))
	c.Store = store
	result, err := Run(ctx(t), c)
	check(t, err)
	if result.Rewritten != 3 || result.Raced != 3 {
		t.Errorf("%+v: want 3 rewritten and 3 raced", result.Progress)
	}
	want := map[string]string{"/sealed": "new", "/plaintext": "new", "/kept-value": "v", "/quiet": "v"}
	if got := w.all(ring(keyring.Strict, 1)); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	kept, err := w.Get(ctx(t), "/kept-value")
	check(t, err)
	if kept.Kvs[0].Lease != int64(lease.ID) {
		t.Error("the lease that the client gave is gone")
	}
}

// TestFaultsOfOneValueDoNotStopTheRest: what can't be rewritten is named.
func TestFaultsOfOneValueDoNotStopTheRest(t *testing.T) {
	w := newWorld(t)
	foreign := seal.NewKey(seal.RingID{9}, 1, &[32]byte{9}).Seal(nil, []byte("/foreign"), []byte("x"))
	w.put("/foreign", string(foreign))
	w.put("/marked", "\xe5eg but plaintext")
	w.putSealed(3, "/unknown", "x")
	sealed := key(1).Seal(nil, []byte("/other"), []byte("x"))
	w.put("/moved", string(sealed))
	w.putSealed(1, "/looks-sealed", string(sealed))
	w.putSealed(1, "/fine", "x")
	result, err := Run(ctx(t), config(w, ring(keyring.CanOpen, 2), Form{}))
	if !errors.Is(err, ErrProblems) {
		t.Errorf("error %v", err)
	}
	if result.Problems != 5 || result.Rewritten != 1 || len(result.First) != 5 {
		t.Errorf("%+v", result)
	}
	for _, p := range result.First {
		if p.Reason == "" || p.ModRevision == 0 || strings.Contains(p.Reason, "but plaintext") {
			t.Errorf("%+v", p)
		}
	}
}

func TestARunStopsWhereTheRingGoesAnotherWay(t *testing.T) {
	w := newWorld(t)
	w.put("/a", "v")
	for _, test := range []struct {
		name string
		ring *keyring.Ring
		want Form
	}{
		{"down to can-open", ring(keyring.CanOpen, 1), under(1)},
		{"up to sealing", ring(keyring.Sealing, 1), Form{}},
		{"to the next key", ring(keyring.Sealing, 2), under(1)},
	} {
		if test.want == (Form{}) {
			w.putSealed(1, "/b", "v")
		}
		before, err := w.Get(ctx(t), "/a")
		check(t, err)
		if result, err := Run(ctx(t), config(w, test.ring, test.want)); !errors.Is(err, errDirection) || result.Rewritten != 0 {
			t.Errorf("%s: %+v, %v", test.name, result, err)
		}
		after, err := w.Get(ctx(t), "/a")
		check(t, err)
		if before.Kvs[0].ModRevision != after.Kvs[0].ModRevision {
			t.Errorf("%s: it wrote", test.name)
		}
		_, err = w.Delete(ctx(t), "/b")
		check(t, err)
	}
}

func TestErrorsThatPassAreWaitedForAndOthersStop(t *testing.T) {
	w := newWorld(t)
	w.put("/a", "v")
	c := config(w, ring(keyring.Sealing, 1), under(1))
	tries := 0
	c.Store = between{w.store, func(*pb.TxnRequest) error {
		if tries++; tries < 3 {
			return errors.New("etcdserver: leader changed")
		}
		return nil
	}}
	if result, err := Run(ctx(t), c); err != nil || result.Rewritten != 1 || tries != 3 {
		t.Errorf("%+v, %v after %d tries", result, err, tries)
	}
	w.put("/b", "v")
	c.Store = between{w.store, func(*pb.TxnRequest) error { return errors.New("etcdserver: mvcc: database space exceeded") }}
	if _, err := Run(ctx(t), c); err == nil || !strings.Contains(err.Error(), "defragment") {
		t.Errorf("a full database: %v", err)
	}
	c.Store = between{w.store, func(*pb.TxnRequest) error { return errors.New("etcdserver: request is too large") }}
	if result, err := Run(ctx(t), c); !errors.Is(err, ErrProblems) || result.Problems != 1 {
		t.Errorf("a value that is too large: %+v, %v", result, err)
	}
	c.Store = between{w.store, func(*pb.TxnRequest) error { return errors.New("requested lease not found") }}
	if result, err := Run(ctx(t), c); !errors.Is(err, ErrProblems) || result.Problems != 1 {
		t.Errorf("a lease that is gone: %+v, %v", result, err)
	}
}

func TestItStopsBeforeTheQuota(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.put(fmt.Sprint("/k/", i), "v")
	}
	c := config(w, ring(keyring.Sealing, 1), under(1))
	c.unpaced, c.Rate, c.ReportEvery = false, 5, time.Millisecond
	c.Sizes = func() Sizes { return Sizes{File: 91, Quota: 100} }
	if result, err := Run(ctx(t), c); err == nil || !strings.Contains(err.Error(), "quota") || result.Rewritten == 50 {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestNothingIsLostUnderWritersAndKills is the whole of the promise: clients write,
// delete, and change leases; several runs at once are killed at random and begun
// again; in the end every value is the last that was acknowledged, and sealed.
func TestNothingIsLostUnderWritersAndKills(t *testing.T) {
	w := newWorld(t)
	const keys, writers = 1200, 4
	r := ring(keyring.Sealing, 2)
	name := func(i int) string { return fmt.Sprintf("/k/%04d", i) }
	ledger := map[string]string{}
	for i := range keys {
		ledger[name(i)] = "first"
		if i%2 == 0 {
			w.put(name(i), "first")
		} else {
			w.putSealed(1, name(i), "first")
		}
	}
	var mu sync.Mutex // of ledger; each key has one writer
	var writing sync.WaitGroup
	for n := range writers {
		random := rand.New(rand.NewPCG(7, uint64(n)))
		writing.Go(func() {
			for round := range 400 {
				k := name(random.IntN(keys/writers)*writers + n)
				mu.Lock()
				_, there := ledger[k]
				mu.Unlock()
				value := fmt.Sprintf("%d/%d", n, round)
				switch {
				case there && random.IntN(5) == 0:
					if _, err := w.Delete(ctx(t), k); err != nil {
						t.Error(err)
					}
					mu.Lock()
					delete(ledger, k)
					mu.Unlock()
					continue
				default:
					write, err := r.BeginWrite()
					if err != nil {
						t.Error(err)
						return
					}
					stored, err := write.Seal([]byte(k), []byte(value))
					if err == nil {
						_, err = w.Put(ctx(t), k, string(stored))
					}
					write.Done()
					if err != nil {
						t.Error(err)
					}
				}
				mu.Lock()
				ledger[k] = value
				mu.Unlock()
			}
		})
	}
	stopped := make(chan struct{})
	go func() { writing.Wait(); close(stopped) }()
	kills := 0
	for going := true; going; kills++ {
		select {
		case <-stopped:
			going = false
		default:
		}
		limited, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(40))*time.Millisecond)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { _, _ = Run(limited, config(w, r, under(2))) })
		}
		both.Wait()
		cancel()
	}
	result, err := Run(ctx(t), config(w, r, under(2)))
	check(t, err)
	t.Logf("%d times two runs were killed; the last rewrote %d of %d", kills, result.Rewritten, result.Seen)
	w.allAre(under(2))
	if got := w.all(ring(keyring.Strict, 2)); !maps.Equal(got, ledger) {
		t.Errorf("what is stored is not what was acknowledged: %d values, want %d", len(got), len(ledger))
		for k, v := range ledger {
			if got[k] != v {
				t.Errorf("%s is %q, want %q", k, got[k], v)
			}
		}
	}
}

func TestProgressAddsUp(t *testing.T) {
	w := newWorld(t)
	for i := range 300 {
		w.put(fmt.Sprint("/k/", i), "v")
	}
	c := config(w, ring(keyring.Sealing, 1), under(1))
	c.Total, c.ReportEvery = 300, time.Millisecond
	var last Progress
	reports := 0
	c.Report = func(p Progress) {
		if reports++; p.Rewritten < last.Rewritten || p.Seen < last.Seen || p.Rewritten+p.Raced+p.Problems > p.Seen {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}
	result, err := Run(ctx(t), c)
	check(t, err)
	if reports == 0 || result.Rewritten != 300 || result.Left != 0 {
		t.Errorf("%d reports, in the end %+v", reports, result.Progress)
	}
}

func TestPrefixIsTheRangeOfItsKeys(t *testing.T) {
	for prefix, want := range map[string]etcdapi.Range{
		"":         {Kind: etcdapi.Tail, Begin: []byte{1}},
		"/a/":      {Kind: etcdapi.Span, Begin: []byte("/a/"), End: []byte("/a0")},
		"a\xff":    {Kind: etcdapi.Span, Begin: []byte("a\xff"), End: []byte("b")},
		"\xff\xff": {Kind: etcdapi.Tail, Begin: []byte("\xff\xff")},
	} {
		if got := Prefix(prefix); got.String() != want.String() || got.Kind != want.Kind {
			t.Errorf("%q: %v, want %v", prefix, got, want)
		}
	}
}
