package reseal

import (
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

func TestQuarantine(t *testing.T) {
	w := newWorld(t)
	r := ring(keyring.Strict, 1)
	name := "/bin\xff\x00/key" // any bytes
	fine := w.putSealed(1, "/fine", "v")
	moved := w.putSealed(2, name, "v") // under a key that this ring does not have
	dropped := w.put("/plain", "v")
	lease, err := w.Grant(ctx(t), 3600)
	check(t, err)
	leased := w.putSealed(2, "/leased", "v", clientv3.WithLease(lease.ID))

	list := func() (all []Problem) {
		check(t, Unopenable(ctx(t), w.store, r, Prefix(""), func(p Problem) error { all = append(all, p); return nil }))
		return all
	}
	if all := list(); len(all) != 3 || string(all[0].Key) != name || all[0].ModRevision != moved || all[0].Reason == "" {
		t.Fatalf("%+v", all)
	}
	for what, test := range map[string]struct {
		err, want error
	}{
		"a value that opens": {Quarantine(ctx(t), w.store, r, []byte("/fine"), fine), ErrOpens},
		"dropping one":       {Drop(ctx(t), w.store, r, []byte("/fine"), fine), ErrOpens},
		"another revision":   {Quarantine(ctx(t), w.store, r, []byte(name), moved-1), ErrNotThere},
		"no key":             {Drop(ctx(t), w.store, r, []byte("/none"), 1), ErrNotThere},
		"a reserved key":     {Quarantine(ctx(t), w.store, r, []byte(QuarantinePrefix), 1), etcdapi.ErrReserved},
		"restoring nothing":  {Restore(ctx(t), w.store, []byte("/fine"), fine), ErrNotThere},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", what, test.err, test.want)
		}
	}
	check(t, Quarantine(ctx(t), w.store, r, []byte(name), moved))
	check(t, Quarantine(ctx(t), w.store, r, []byte("/leased"), leased))
	check(t, Drop(ctx(t), w.store, r, []byte("/plain"), dropped))
	if all := list(); len(all) != 0 {
		t.Errorf("still there: %+v", all)
	}
	if err := Quarantine(ctx(t), w.store, r, []byte(name), moved); !errors.Is(err, ErrNotThere) {
		t.Errorf("a second time: %v", err)
	}
	_, err = w.Revoke(ctx(t), lease.ID) // what is in quarantine does not go with it
	check(t, err)
	kept, err := ListQuarantined(ctx(t), w.store)
	check(t, err)
	if len(kept) != 2 || string(kept[0].Key)+string(kept[1].Key) != name+"/leased" && string(kept[0].Key)+string(kept[1].Key) != "/leased"+name {
		t.Fatalf("in quarantine: %+v", kept)
	}

	// The missing data key is found: the value opens where it was.
	check(t, Restore(ctx(t), w.store, []byte(name), moved))
	if got := w.all(ring(keyring.Strict, 2)); got[name] != "v" {
		t.Errorf("restored: %q", got)
	}
	// A key that has a value again is not overwritten.
	w.putSealed(1, "/leased", "newer")
	if err := Restore(ctx(t), w.store, []byte("/leased"), leased); !errors.Is(err, ErrTaken) {
		t.Errorf("over a newer value: %v", err)
	}
	racing := between{w.store, func(*pb.TxnRequest) error { w.putSealed(1, "/leased", "newer"); return nil }}
	_, err = w.Delete(ctx(t), "/leased")
	check(t, err)
	if err := Restore(ctx(t), racing, []byte("/leased"), leased); !errors.Is(err, ErrNotThere) {
		t.Errorf("over a value written meanwhile: %v", err)
	}
	check(t, Drop(ctx(t), w.store, r, []byte("/leased"), leased))
	if kept, err := ListQuarantined(ctx(t), w.store); err != nil || len(kept) != 0 {
		t.Errorf("in quarantine: %+v, %v", kept, err)
	}
	if got := w.all(ring(keyring.Strict, 2)); got["/leased"] != "newer" || got["/fine"] != "v" || len(got) != 3 {
		t.Errorf("in the end: %q", got)
	}
}
