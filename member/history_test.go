package member

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// revisions are all that EachRevision yields, as text.
func revisions(t *testing.T, m *Member) (all []string) {
	t.Helper()
	check(t, server{m.etcd.Server}.EachRevision(withTimeout(t), func(kv *mvccpb.KeyValue, tombstone bool) error {
		if kv.Key[0] == 0 {
			return nil // etcdguard's own
		}
		line := fmt.Sprintf("put %s=%s at %d", kv.Key, kv.Value, kv.ModRevision)
		if tombstone {
			line = fmt.Sprintf("delete %s", kv.Key)
		}
		all = append(all, line)
		return nil
	}))
	return all
}

// TestEachRevisionIsSeenOnce writes until what etcd has in bbolt and what it still
// holds in memory are both more than a window, with deletions of many keys at once
// and, in the end, a stretch that was compacted.
func TestEachRevisionIsSeenOnce(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	c := w.client("admin")
	ctx := withTimeout(t)
	var want []string
	put := func(n, round int) int64 {
		var last int64
		for i := 0; i < n; i += 100 {
			var ops []clientv3.Op
			for j := i; j < i+100; j++ {
				ops = append(ops, clientv3.OpPut(fmt.Sprintf("/w/%05d", j), fmt.Sprint(round)))
			}
			r, err := c.Txn(ctx).Then(ops...).Commit()
			check(t, err)
			last = r.Header.Revision
			for j := i; j < i+100; j++ {
				want = append(want, fmt.Sprintf("put /w/%05d=%d at %d", j, round, last))
			}
		}
		return last
	}
	compare := func(when string) {
		t.Helper()
		got := revisions(t, m)
		if len(got) != len(want) {
			t.Fatalf("%s: %d revisions, want %d", when, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: revision %d is %q, want %q", when, i, got[i], want[i])
			}
		}
	}
	const keys = 3 * windowEntries
	put(keys, 1)
	compare("after putting")
	m.etcd.Server.Backend().ForceCommit()
	compare("after committing")
	last := put(keys, 2)
	compare("half in memory")
	r, err := c.Delete(ctx, "/w/", clientv3.WithPrefix())
	check(t, err)
	if r.Deleted != keys {
		t.Fatalf("deleted %d", r.Deleted)
	}
	for j := range keys {
		want = append(want, fmt.Sprintf("delete /w/%05d", j))
	}
	compare("after deleting")
	_, err = c.Compact(ctx, last, clientv3.WithCompactPhysical())
	check(t, err)
	want = want[keys:]
	compare("after compacting")
}

func TestEachRevisionStops(t *testing.T) {
	w := newWorld(t)
	m := w.start()
	_, err := w.client("admin").Put(withTimeout(t), "/w/a", "1")
	check(t, err)
	mine := errors.New("enough")
	stop := func(*mvccpb.KeyValue, bool) error { return mine }
	if err := (server{m.etcd.Server}).EachRevision(t.Context(), stop); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (server{m.etcd.Server}).EachRevision(ended, func(*mvccpb.KeyValue, bool) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
