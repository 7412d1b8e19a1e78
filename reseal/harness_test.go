package reseal

import (
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/etcdguard/etcdguard/internal/difftest/stock"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

var ringID = seal.RingID{1, 2, 3, 4, 5, 6, 7, 8}

func key(n seal.KeyNumber) *seal.Key { return seal.NewKey(ringID, n, &[32]byte{byte(n)}) }

// ring is a ring of n data keys, the last active.
func ring(phase keyring.Phase, n seal.KeyNumber) *keyring.Ring {
	var keys []*seal.Key
	for i := seal.KeyNumber(1); i <= n; i++ {
		keys = append(keys, key(i))
	}
	return keyring.Static(ringID, phase, keys...)
}

func under(n seal.KeyNumber) Form { return Form{Ring: ringID, Key: n} }

// rpc is a Store that is another process's etcd.
type rpc struct{ pb.KVClient }

func (r rpc) Range(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
	return r.KVClient.Range(ctx, q)
}

func (r rpc) Txn(ctx context.Context, q *pb.TxnRequest) (*pb.TxnResponse, error) {
	return r.KVClient.Txn(ctx, q)
}

// world is a real etcd, whose client is the store.
type world struct {
	*clientv3.Client
	t     testing.TB
	store Store
}

func newWorld(t testing.TB) *world {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{stock.Start(t, stock.Config{})}, Logger: zap.NewNop()})
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return &world{c, t, rpc{pb.NewKVClient(c.ActiveConnection())}}
}

func (w *world) put(name, value string, options ...clientv3.OpOption) int64 {
	w.t.Helper()
	r, err := w.Put(ctx(w.t), name, value, options...)
	check(w.t, err)
	return r.Header.Revision
}

// putSealed stores a value sealed under key n.
func (w *world) putSealed(n seal.KeyNumber, name, value string, options ...clientv3.OpOption) int64 {
	w.t.Helper()
	return w.put(name, string(key(n).Seal(nil, []byte(name), []byte(value))), options...)
}

// all are the values as a ring opens them, by key.
func (w *world) all(r *keyring.Ring) map[string]string {
	w.t.Helper()
	found, err := w.Get(ctx(w.t), "\x01", clientv3.WithFromKey())
	check(w.t, err)
	out := map[string]string{}
	for _, kv := range found.Kvs {
		value, err := r.Open(kv.Key, kv.Value)
		if err != nil {
			w.t.Errorf("%q at %d: %v", kv.Key, kv.ModRevision, err)
		}
		out[string(kv.Key)] = string(value)
	}
	return out
}

// allAre fails unless every value has the form.
func (w *world) allAre(want Form) {
	w.t.Helper()
	found, err := w.Get(ctx(w.t), "\x01", clientv3.WithFromKey())
	check(w.t, err)
	for _, kv := range found.Kvs {
		if !want.has(kv.Value) {
			w.t.Errorf("%q at %d is not %v", kv.Key, kv.ModRevision, want)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ctx ends tests that hang, on any machine.
func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return c
}
