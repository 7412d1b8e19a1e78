package kube

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// caller is what the policy calls kube-apiserver.
const caller = "kube-apiserver"

// NoDenial holds the guard to its word: from its first request to its last,
// kube-apiserver was refused nothing, and the counters that say so do count.
func NoDenial(ctx context.Context, t testing.TB, c *cluster.Cluster, tally *cluster.Tally, traffic *Traffic) {
	t.Helper()
	for _, m := range c.Members {
		if err := tally.Read(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	total := tally.Total(caller)
	t.Logf("decisions about %s:\n%s", caller, cluster.Table(total))
	allowed := map[string]int{}
	for d, n := range total {
		switch {
		case d.Result == "allowed":
			allowed[d.Action] = n
		case d.Result == "postponed" && d.Action == "KV.Compact":
			// The member that was killed said "not yet": see aftermath_test.go. The
			// next compaction takes that history too.
			t.Logf("%d compactions were postponed by a member that had been away", n)
		default:
			t.Errorf("%s was %s %s %d times", caller, d.Result, d.Action, n)
		}
	}
	objects := int(traffic.load.created.Load())
	for action, least := range map[string]int{
		"KV.Txn": objects, "KV.Txn:Compare": objects, "KV.Txn:Put": objects, "KV.Txn:DeleteRange": objects / 4,
		"KV.Range": 1, "Watch.Watch": 1, "Lease.LeaseGrant": 1, "KV.Compact": 1,
	} {
		if allowed[action] < least {
			t.Errorf("positive control: %s was allowed %d times, expected at least %d", action, allowed[action], least)
		}
	}
	deniedElsewhere(ctx, t, c, tally)
}

// deniedElsewhere reads the members' logs, which outlive a SIGKILL: no denial of
// kube-apiserver, and one of another caller, made here, to show that a denial would
// be found, there and in the counters.
func deniedElsewhere(ctx context.Context, t testing.TB, c *cluster.Cluster, tally *cluster.Tally) {
	const denied, apiserver, monitor = "request denied", "kube-apiserver-etcd-client", "etcdguard-monitor"
	refused := cluster.Decision{Caller: "monitor", Action: "KV.Range", Result: "denied"}
	before := tally.Total("monitor")[refused] // `up` tries this too
	for _, m := range c.Members {
		client := c.Etcd(t, c.TLS(t, "monitor"), m)
		if _, err := client.Get(ctx, "/registry/secrets/", clientv3.WithPrefix()); err == nil {
			t.Errorf("%s let the monitor read secrets", m.Name)
		}
		if err := tally.Read(ctx, m); err != nil {
			t.Error(err)
		}
		if len(m.LogLines(t, denied, monitor)) == 0 {
			t.Errorf("%s denied the monitor and did not say so in its log", m.Name)
		}
		for _, line := range m.LogLines(t, denied, apiserver) {
			t.Errorf("%s: %s", m.Name, line)
		}
	}
	if n := tally.Total("monitor")[refused] - before; n != len(c.Members) {
		t.Errorf("positive control: %d denials of the monitor were counted on %d members", n, len(c.Members))
	}
}
