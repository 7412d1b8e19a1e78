package member_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The real etcd hands one event to both watchers, and writes PrevKv into it for one of
// them; the other must not be shown it. That the guard does not even look at it, the
// race detector sees in guard's TestOnlyWhoAskedSeesThePreviousValue.
func TestTwoWatchersOfASealedKey(t *testing.T) {
	address := startSealed(t, t.TempDir(), transport.TLSInfo{})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	client := func() *clientv3.Client {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, DialTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	const writes = 300
	plain := client().Watch(ctx, "/k", clientv3.WithCreatedNotify())
	asked := client().Watch(ctx, "/k", clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	<-plain
	<-asked
	c := client()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range writes {
			var err error
			if i%5 == 4 {
				_, err = c.Delete(ctx, "/k")
			} else {
				_, err = c.Put(ctx, "/k", fmt.Sprintf("value %d", i))
			}
			if err != nil {
				t.Error(err)
				cancel()
				return
			}
		}
	}()
	expect := func(who string, events clientv3.WatchChan, previous bool) {
		for i := 0; i < writes; {
			r := <-events
			if r.Err() != nil || len(r.Events) == 0 {
				t.Fatalf("%s: %v after %d events", who, r.Err(), i)
			}
			for _, e := range r.Events {
				want, before := fmt.Sprintf("value %d", i), fmt.Sprintf("value %d", i-1)
				if e.IsCreate() || i%5 == 0 {
					before = ""
				}
				if i%5 == 4 {
					want = ""
				}
				if string(e.Kv.Value) != want {
					t.Fatalf("%s: event %d has %q, want %q", who, i, e.Kv.Value, want)
				}
				switch {
				case !previous && e.PrevKv != nil:
					t.Fatalf("%s: event %d shows what was before", who, i)
				case previous && before != "" && (e.PrevKv == nil || string(e.PrevKv.Value) != before):
					t.Fatalf("%s: event %d came after %v, want %q", who, i, e.PrevKv, before)
				}
				i++
			}
		}
	}
	expect("who asked", asked, true)
	expect("who did not ask", plain, false)
	<-written // the last event may come before the answer to its own write
}
