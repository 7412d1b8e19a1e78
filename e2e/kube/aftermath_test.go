package kube

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// A member that was killed has not seen what became of the head while it was gone,
// and kube-apiserver may send its next compaction to just this member. The revision
// is old enough, and the others know it. It may say "not yet", never "no", and it
// must come to know by itself.
func TestAMemberThatCameBackDoesNotDenyCompaction(t *testing.T) {
	const age = 15 * time.Second
	c := cluster.Up(t, 3)
	c.EditPolicy(t, func(policy string) string {
		return addToRule(t, policy, "role: kube-apiserver", "compactionAge: "+age.String())
	})
	leader, _ := c.Leader(t, t.Context())
	victim := c.Members[0]
	if victim == leader {
		victim = c.Members[1]
	}
	admin := c.Etcd(t, c.TLS(t, "admin"), leader)
	put := func() int64 {
		answer, err := admin.Put(t.Context(), "/registry/aftermath", "x")
		if err != nil {
			t.Fatal(err)
		}
		return answer.Header.Revision
	}
	put()
	victim.Kill(t)
	first := put()
	second := put()
	put() // from here on, neither is the head any more
	since := time.Now()
	time.Sleep(age / 2)
	c.Resume(t)
	time.Sleep(time.Until(since.Add(age + 3*time.Second)))
	apiserver := c.Etcd(t, c.TLS(t, "kube-apiserver"), leader)
	if _, err := apiserver.Compact(t.Context(), first); err != nil {
		t.Errorf("%s, which was there, denies the compaction of what is %v old: %v", leader.Name, time.Since(since).Round(time.Second), err)
	}
	apiserver = c.Etcd(t, c.TLS(t, "kube-apiserver"), victim)
	for deadline := time.Now().Add(age + 15*time.Second); ; time.Sleep(time.Second) {
		_, err := apiserver.Compact(t.Context(), second)
		if err == nil || errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
		if status.Code(err) != codes.Unavailable || time.Now().After(deadline) {
			t.Fatalf("%s, which was away, answers the compaction of what is %v old with %v", victim.Name, time.Since(since).Round(time.Second), err)
		}
	}
}
