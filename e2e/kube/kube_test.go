package kube

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

const (
	// compaction is how often kube-apiserver compacts here, window how old history
	// has to be for the policy to let it go: the defaults of both, 5 minutes and
	// 4½, made short in about the same proportion.
	compaction = 20 * time.Second
	window     = "15s"
	objects    = 2000 // of each of the two resources
	// onStock runs everything but the look at decisions on stock etcd: the control.
	onStock = "E2E_ON_STOCK_ETCD"
)

// TestKubernetesKeepsItsPromisesOnTheGuardedCluster is one story from start to end,
// because the ledger is only worth something if it covers the whole of it.
func TestKubernetesKeepsItsPromisesOnTheGuardedCluster(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c, tally := start(t)
	api := Start(t, c, compaction)
	t.Logf("kube-apiserver is ready")

	traffic := Begin(ctx, t, api, false)
	underLoad(ctx, t, c, tally, traffic)
	compacted(ctx, t, c)
	final := traffic.Settle(ctx, t)
	final.SameIn(ctx, t, c)
	api.Stop(t)
	if tally != nil {
		NoDenial(ctx, t, c, tally, traffic)
	}
}

func start(t *testing.T) (*cluster.Cluster, *cluster.Tally) {
	if os.Getenv(onStock) != "" {
		t.Logf("%s is set: this run is the control on stock etcd and says nothing about etcdguard", onStock)
		return cluster.Stock(t, 3), nil
	}
	c := cluster.Up(t, 3)
	c.EditPolicy(t, func(policy string) string {
		return addToRule(t, policy, "role: kube-apiserver", "compactionAge: "+window)
	})
	return c, c.Count(t)
}

// addToRule adds a field beside the line of a rule that is known.
func addToRule(t *testing.T, policy, line, field string) string {
	var out []string
	added := 0
	for l := range strings.Lines(policy) {
		out = append(out, l)
		if trimmed := strings.TrimPrefix(strings.TrimSpace(l), "- "); trimmed == line {
			indent := strings.Index(l, line)
			out = append(out, strings.Repeat(" ", indent)+field+"\n")
			added++
		}
	}
	if added != 1 {
		t.Fatalf("the policy of `etcdguard up` has %d rules with %q, not one:\n%s", added, line, policy)
	}
	return strings.Join(out, "")
}

// underLoad runs the whole load, kills the leader when a third of it is done and
// brings it back at two thirds.
func underLoad(ctx context.Context, t *testing.T, c *cluster.Cluster, tally *cluster.Tally, traffic *Traffic) {
	const total = 2 * objects
	var others sync.WaitGroup
	kill, resume := make(chan struct{}), make(chan struct{})
	others.Go(func() {
		select {
		case <-kill:
		case <-ctx.Done():
			return
		}
		victim, revision := c.Leader(t, ctx)
		if tally != nil {
			if err := tally.Read(ctx, victim); err != nil {
				t.Error(err)
			}
		}
		victim.Kill(t)
		t.Logf("%s, the leader, was killed at revision %d", victim.Name, revision)
		<-resume
		c.Resume(t)
		caughtUp(ctx, t, c, victim, revision)
	})
	traffic.Run(ctx, t, func(n int) bool { return n < objects }, func(done int64) {
		switch done {
		case total / 3:
			close(kill)
		case total * 2 / 3:
			close(resume)
		}
	})
	others.Wait()
}

// caughtUp waits until the member that was killed serves what happened without it.
func caughtUp(ctx context.Context, t *testing.T, c *cluster.Cluster, m *cluster.Member, killedAt int64) {
	client := c.Etcd(t, c.TLS(t, "admin"), m)
	for ctx.Err() == nil {
		status, err := client.Status(ctx, m.ClientAddr())
		if err == nil && status.Leader != 0 && status.Header.Revision > killedAt {
			t.Logf("%s is back at revision %d", m.Name, status.Header.Revision)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Errorf("%s did not catch up", m.Name)
}

// compacted waits until kube-apiserver has compacted away a revision that the end
// of the load made, so that the compaction was its own and came after the kill.
func compacted(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	client := c.Etcd(t, c.TLS(t, "admin"))
	head, err := client.Get(ctx, "compact_rev_key")
	if err != nil {
		t.Fatal(err)
	}
	target, began := head.Header.Revision-1, time.Now()
	for time.Since(began) < 6*compaction {
		_, err := client.Get(ctx, "/", clientv3.WithRev(target), clientv3.WithCountOnly())
		if errors.Is(err, rpctypes.ErrCompacted) {
			t.Logf("revision %d was compacted away %v after the load", target, time.Since(began).Round(time.Second))
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		// kube-apiserver compacts to what was the head one interval ago.
		time.Sleep(500 * time.Millisecond)
	}
	t.Errorf("kube-apiserver did not compact revision %d within %v", target, 6*compaction)
}
