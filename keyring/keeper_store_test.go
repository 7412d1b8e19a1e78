package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// cluster is an etcd of any number of members that agree at once. It knows what the
// keyring asks for, and no more.
type cluster struct {
	t        testing.TB
	mu       sync.Mutex
	revision int64
	kvs      map[string]*mvccpb.KeyValue
	leases   map[int64]bool
	renewals map[int64]int
	members  []MemberInfo
	watchers map[chan struct{}]bool
	puts     map[string]int // how often each key was put
}

func newCluster(t testing.TB, members ...string) *cluster {
	c := &cluster{t: t, revision: 1, kvs: map[string]*mvccpb.KeyValue{}, leases: map[int64]bool{}, renewals: map[int64]int{},
		watchers: map[chan struct{}]bool{}, puts: map[string]int{}}
	for i, name := range members {
		c.members = append(c.members, MemberInfo{ID: uint64(i + 1), Name: name, PeerURLs: []string{"https://" + name}})
	}
	return c
}

// member is the Store of one member.
type member struct {
	*cluster
	id uint64

	mu   sync.Mutex
	down error // every request fails with it
	txn  func(*pb.TxnRequest) error
}

func (c *cluster) member(id uint64) *member { return &member{cluster: c, id: id} }

func (m *member) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// onTxn is asked before each Txn.
func (m *member) onTxn(f func(*pb.TxnRequest) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.txn = f
}

func (m *member) broken(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(ctx.Err(), m.down)
}

func (c *cluster) in(key, end []byte) (found []*mvccpb.KeyValue) {
	for name, kv := range c.kvs {
		switch {
		case len(end) == 0:
			if name != string(key) {
				continue
			}
		case name < string(key) || !bytes.Equal(end, []byte{0}) && name >= string(end):
			continue
		}
		found = append(found, kv)
	}
	sort.Slice(found, func(i, j int) bool { return bytes.Compare(found[i].Key, found[j].Key) < 0 })
	return found
}

func (m *member) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := m.broken(ctx); err != nil {
		return nil, err
	}
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	found := m.in(r.Key, r.RangeEnd)
	out := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: m.revision}, Count: int64(len(found))}
	if !r.CountOnly {
		for _, kv := range found {
			out.Kvs = append(out.Kvs, proto.Clone(kv).(*mvccpb.KeyValue))
		}
	}
	return out, nil
}

func (c *cluster) holds(compare *pb.Compare) bool {
	found := c.in(compare.Key, compare.RangeEnd)
	if len(found) == 0 {
		found = []*mvccpb.KeyValue{{}}
	}
	for _, kv := range found {
		var have, want int64
		switch u := compare.TargetUnion.(type) {
		case *pb.Compare_Version:
			have, want = kv.Version, u.Version
		case *pb.Compare_ModRevision:
			have, want = kv.ModRevision, u.ModRevision
		default:
			c.t.Fatalf("a compare that this etcd does not know: %v", compare)
		}
		ok := have == want
		if compare.Result == pb.Compare_GREATER {
			ok = have > want
		}
		if !ok {
			return false
		}
	}
	return true
}

func (m *member) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := m.broken(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	hook := m.txn
	m.mu.Unlock()
	if hook != nil {
		if err := hook(r); err != nil {
			return nil, err
		}
	}
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	out := &pb.TxnResponse{Succeeded: true, Header: &pb.ResponseHeader{Revision: m.revision}}
	for _, compare := range r.Compare {
		out.Succeeded = out.Succeeded && m.holds(compare)
	}
	if !out.Succeeded {
		return out, nil
	}
	m.revision++
	out.Header.Revision = m.revision
	for _, op := range r.Success {
		if put := op.GetRequestPut(); put != nil {
			if put.Lease != 0 && !m.leases[put.Lease] {
				m.revision--
				return nil, errors.New("etcdserver: requested lease not found")
			}
			m.put(string(put.Key), put.Value, put.Lease)
		}
		if d := op.GetRequestDeleteRange(); d != nil {
			for _, kv := range m.in(d.Key, d.RangeEnd) {
				delete(m.kvs, string(kv.Key))
			}
		}
	}
	m.changed()
	return out, nil
}

func (c *cluster) put(key string, value []byte, lease int64) {
	kv := c.kvs[key]
	if kv == nil {
		kv = &mvccpb.KeyValue{Key: []byte(key), CreateRevision: c.revision}
	}
	next := proto.Clone(kv).(*mvccpb.KeyValue)
	next.Value, next.Lease, next.ModRevision = bytes.Clone(value), lease, c.revision
	next.Version++
	c.kvs[key] = next
	c.puts[key]++
}

// write is what a client, or somebody past the guard, stores.
func (c *cluster) write(key string, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision++
	c.put(key, value, 0)
	c.changed()
}

func (c *cluster) remove(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision++
	delete(c.kvs, key)
	c.changed()
}

func (c *cluster) value(key string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kv := c.kvs[key]; kv != nil {
		return kv.Value
	}
	return nil
}

func (c *cluster) count(prefix string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.in([]byte(prefix), prefixEnd(prefix)))
}

func (c *cluster) changed() {
	for w := range c.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (m *member) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := m.broken(ctx); err != nil {
		return nil, err
	}
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.leases[r.ID] = true
	return &pb.LeaseGrantResponse{ID: r.ID, TTL: r.TTL}, nil
}

func (m *member) LeaseRenew(ctx context.Context, id int64) (int64, error) {
	if err := m.broken(ctx); err != nil {
		return 0, err
	}
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	if !m.leases[id] {
		return 0, errors.New("lease not found")
	}
	m.renewals[id]++
	return 5, nil
}

// expire ends the presence of a member, as etcd does when nobody renews it.
func (c *cluster) expire(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := memberKey(id)
	kv := c.kvs[key]
	if kv == nil {
		return
	}
	delete(c.leases, kv.Lease)
	c.revision++
	delete(c.kvs, key)
	c.changed()
}

func (m *member) Watch(ctx context.Context, _, _ []byte) (<-chan struct{}, error) {
	w := make(chan struct{}, 1)
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.watchers[w] = true
	context.AfterFunc(ctx, func() {
		m.cluster.mu.Lock()
		defer m.cluster.mu.Unlock()
		delete(m.watchers, w)
		close(w)
	})
	return w, nil
}

func (m *member) Members() []MemberInfo {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	return append([]MemberInfo(nil), m.members...)
}

func (m *member) MemberID() uint64 { return m.id }

func (m *member) RequestTimeout() time.Duration { return time.Second }

var _ Store = (*member)(nil)

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never came: %s", what)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

var errDown = fmt.Errorf("etcdserver: this test has taken it down")
