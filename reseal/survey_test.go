package reseal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

func TestSurveyCountsByKeyAndPrefix(t *testing.T) {
	w := newWorld(t)
	w.put("\x00etcdguard/ring", "not counted")
	w.put("/registry/secrets/a/b", "plain")
	w.putSealed(1, "/registry/secrets/a/c", "v")
	w.putSealed(2, "/registry/secrets/a/d", "v")
	w.putSealed(2, "/registry/pods/a/d", "v")
	w.put("/registry/pods/a/e", string(seal.NewKey(seal.RingID{9}, 1, &[32]byte{}).Seal(nil, []byte("x"), nil)))
	w.put("/registry/pods/a/f", "\xe5eg")
	s, err := NewSurvey(ctx(t), w.store, ringID, Prefix(""), nil)
	check(t, err)
	secrets, pods := s.Prefixes["/registry/secrets/"], s.Prefixes["/registry/pods/"]
	if s.Total.Values != 6 || s.Total.Plaintext != 1 || s.Total.Odd != 2 || s.Total.Sealed() != 3 ||
		!maps.Equal(s.Total.ByKey, map[seal.KeyNumber]int64{1: 1, 2: 2}) {
		t.Errorf("in all: %+v", s.Total)
	}
	if secrets.Values != 3 || secrets.Plaintext != 1 || secrets.Sealed() != 2 || pods.Odd != 2 || pods.Sealed() != 1 || len(s.Prefixes) != 2 {
		t.Errorf("by prefix: %+v", s.Prefixes)
	}
	if len(s.FirstPlaintext) != 1 || s.FirstPlaintext[0] != "/registry/secrets/a/b" || len(s.FirstOdd) != 2 || len(s.FirstByKey[2]) != 2 {
		t.Errorf("examples: %q %q %v", s.FirstPlaintext, s.FirstOdd, s.FirstByKey)
	}
	if s.From == 0 || s.To < s.From {
		t.Errorf("revisions %d to %d", s.From, s.To)
	}
}

func TestGroups(t *testing.T) {
	for name, want := range map[string]string{
		"/registry/secrets/ns/a":                     "/registry/secrets/",
		"/registry/cert-manager.io/certificates/a/b": "/registry/cert-manager.io/certificates/",
		"/registry/health":                           "/registry/",
		"/a/b/c":                                     "/a/",
		"/a":                                         NoPrefix,
		"a/b/c":                                      "a/",
		"compact_rev_key":                            NoPrefix,
		"/":                                          NoPrefix,
		"//":                                         "//",
		strings.Repeat("x", 10000) + "/":             NoPrefix,
	} {
		if got := group([]byte(name)); got != want {
			t.Errorf("%.60q is counted under %q, want %q", name, got, want)
		}
	}
}

func TestManyPrefixesStayBounded(t *testing.T) {
	s := &Survey{Prefixes: map[string]Counts{}, FirstByKey: map[seal.KeyNumber][]string{}}
	for i := range 3 * maxGroups {
		s.add(ringID, &mvccpb.KeyValue{Key: fmt.Appendf(nil, "/%d/x", i), Value: []byte("v")})
	}
	if len(s.Prefixes) != maxGroups+1 || s.Prefixes[OtherPrefixes].Plaintext != 2*maxGroups || s.Total.Values != 3*maxGroups {
		t.Errorf("%d prefixes, %d others", len(s.Prefixes), s.Prefixes[OtherPrefixes].Values)
	}
}

// TestWalkSeesEveryKeyOnce crosses every boundary of pages and strides.
func TestWalkSeesEveryKeyOnce(t *testing.T) {
	w := newWorld(t)
	for _, n := range []int{0, 1, leastPage - 1, leastPage, leastPage + 1, 3 * leastPage, 3*leastPage + 1, stride - 1, stride, stride + 1, 2*stride + leastPage} {
		_, err := w.Delete(ctx(t), "/", clientv3.WithPrefix())
		check(t, err)
		for i := 0; i < n; i += stock16 {
			var ops []clientv3.Op
			for j := i; j < min(n, i+stock16); j++ {
				ops = append(ops, clientv3.OpPut(fmt.Sprintf("/%06d", j), ""))
			}
			_, err := w.Txn(ctx(t)).Then(ops...).Commit()
			check(t, err)
		}
		next := 0
		_, _, err = walk(ctx(t), w.store, Prefix(""), func(kvs []*mvccpb.KeyValue) error {
			for _, kv := range kvs {
				if want := fmt.Sprintf("/%06d", next); string(kv.Key) != want {
					t.Fatalf("%d keys: got %q, want %q", n, kv.Key, want)
				}
				next++
			}
			return nil
		})
		if err != nil || next != n {
			t.Errorf("%d keys: saw %d, %v", n, next, err)
		}
	}
}

func TestPagesStayBounded(t *testing.T) {
	small := []*mvccpb.KeyValue{{Value: make([]byte, 10)}}
	large := []*mvccpb.KeyValue{{Value: make([]byte, smallPage)}}
	limit := int64(leastPage)
	for range 10 {
		limit = nextLimit(limit, small)
	}
	if limit != mostPage {
		t.Errorf("after small values: %d", limit)
	}
	if limit = nextLimit(limit, large); limit != leastPage {
		t.Errorf("after large ones: %d", limit)
	}
}

const stock16 = 16 // operations in a Txn, by the limits of stock

func TestEstimateIsWhatARunDoes(t *testing.T) {
	w := newWorld(t)
	for i := range 40 {
		w.put(fmt.Sprint("/k/", i), "v")
		w.putSealed(1, fmt.Sprint("/s/", i), "v")
	}
	cost, err := Estimate(ctx(t), w.store, Prefix(""), under(1), Sizes{File: 100, InUse: 50, Quota: 1 << 30}, nil)
	check(t, err)
	before, err := w.Get(ctx(t), "x")
	check(t, err)
	result, err := Run(ctx(t), config(w, ring(keyring.Sealing, 1), under(1)))
	check(t, err)
	after, err := w.Get(ctx(t), "x")
	check(t, err)
	if cost.Values != 80 || cost.Rewrites != 40 || result.Rewritten != 40 || after.Header.Revision-before.Header.Revision != 40 {
		t.Errorf("estimated %+v, rewrote %d with %d revisions", cost, result.Rewritten, after.Header.Revision-before.Header.Revision)
	}
}

// TestGrowthIsForetold measures what rewriting does to the file of a real etcd.
func TestGrowthIsForetold(t *testing.T) {
	for _, size := range []int{10, 1000, 5000, 30000} {
		w := newWorld(t)
		const bytes = 6 << 20
		n := min(2500, bytes/size)
		value := strings.Repeat("v", size)
		for i := range n {
			w.put(fmt.Sprintf("/registry/secrets/default/%06d", i), value)
		}
		sizes := func() Sizes {
			_, err := w.Defragment(ctx(t), w.Endpoints()[0]) // also commits
			check(t, err)
			s, err := w.Client.Status(ctx(t), w.Endpoints()[0])
			check(t, err)
			return Sizes{File: s.DbSize, InUse: s.DbSizeInUse, Quota: s.DbSizeQuota}
		}
		before := sizes()
		cost, err := Estimate(ctx(t), w.store, Prefix(""), under(1), before, nil)
		check(t, err)
		_, err = Run(ctx(t), config(w, ring(keyring.Sealing, 1), under(1)))
		check(t, err)
		after := sizes()
		grown := after.InUse - before.InUse
		t.Logf("%d values of %d bytes: grown by %d KiB, foretold %d KiB", n, size, grown>>10, cost.Growth>>10)
		if grown > cost.Growth || grown < cost.Growth*6/10 {
			t.Errorf("%d values of %d bytes: the database grew by %d, foretold %d", n, size, grown, cost.Growth)
		}
	}
}

func TestAFullDatabaseIsRefused(t *testing.T) {
	for _, test := range []struct {
		rewrites, file, inUse, growth int64
		refused                       bool
	}{
		{1, 10, 10, 70, false}, {1, 10, 10, 71, true}, {1, 81, 10, 1, true}, {0, 99, 99, 0, false}, {1, 50, 10, 60, false},
	} {
		c := &Cost{Rewrites: test.rewrites, Growth: test.growth, Sizes: Sizes{File: test.file, InUse: test.inUse, Quota: 100}}
		c.After = max(test.file, test.inUse+test.growth)
		var quota *ErrQuota
		if err := c.Check(); errors.As(err, &quota) != test.refused {
			t.Errorf("%+v: %v", test, err)
		} else if err != nil && (quota.Hint() == "" || !strings.Contains(err.Error(), "quota")) {
			t.Errorf("%v (%s)", err, quota.Hint())
		}
	}
	none := &Cost{Rewrites: 1, After: 1 << 50}
	if err := none.Check(); err != nil {
		t.Errorf("without a quota: %v", err)
	}
}

// history is a History of what it is told.
type history []*mvccpb.KeyValue

func (h history) EachRevision(_ context.Context, each func(*mvccpb.KeyValue, bool) error) error {
	for _, kv := range h {
		if err := each(kv, kv.Value == nil); err != nil {
			return err
		}
	}
	return nil
}

func TestUsesOfAKey(t *testing.T) {
	sealed := func(n seal.KeyNumber, name string, at int64) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Key: []byte(name), ModRevision: at, Value: key(n).Seal(nil, []byte(name), []byte("v"))}
	}
	cut := sealed(1, "/cut", 9)
	cut.Value = cut.Value[:40]
	foreign := &mvccpb.KeyValue{Key: []byte("/f"), ModRevision: 8, Value: seal.NewKey(seal.RingID{9}, 1, &[32]byte{}).Seal(nil, nil, nil)}
	h := history{sealed(1, "/a", 2), sealed(2, "/a", 3), {Key: []byte("/a")}, sealed(1, QuarantinePrefix+"7/x", 5),
		{Key: []byte("/p"), Value: []byte("plain"), ModRevision: 6}, foreign, cut}
	u, err := UsesOf(ctx(t), h, ringID, 1, nil)
	check(t, err)
	if u.Revisions != 2 || u.Newest != 5 || len(u.First) != 2 || string(u.First[0].Key) != "/a" || u.First[0].ModRevision != 2 {
		t.Errorf("%+v", u)
	}
	if u, err := UsesOf(ctx(t), h, ringID, 3, nil); err != nil || u.Revisions != 0 {
		t.Errorf("%+v, %v", u, err)
	}
}

var _ Store = rpc{pb.KVClient(nil)}
