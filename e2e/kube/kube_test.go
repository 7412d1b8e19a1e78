package kube

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

const (
	// compaction is how often kube-apiserver compacts here, window how old history
	// has to be for the policy to let it go: the defaults of both, 5 minutes and
	// 4½, made short in about the same proportion.
	compaction = 20 * time.Second
	window     = "15s"
	// caller is what the policy calls kube-apiserver.
	caller = "kube-apiserver"
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

	s := store{api.Client}
	l := &load{store: s, ledger: newLedger()}
	views := prepare(ctx, t, s, l)
	watching, stopWatching := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	for _, v := range views {
		watchers.Go(func() { v.follow(watching, t, s) })
	}
	defer func() { stopWatching(); watchers.Wait() }()

	underLoad(ctx, t, c, tally, l)
	compacted(ctx, t, c)
	final := agreement(ctx, t, l, views)
	stopWatching()
	watchers.Wait()
	sameInEtcd(ctx, t, c, final)
	api.Stop(t)
	noDenial(ctx, t, c, tally)
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

// prepare makes the namespace and the counters, and views that start from there.
func prepare(ctx context.Context, t *testing.T, s store, l *load) []*view {
	t.Helper()
	name := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := s.client.CoreV1().Namespaces().Create(ctx, name, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for n := range counters {
		if _, err := s.create(ctx, configMaps, item{name: counter(n).name, payload: "0"}); err != nil {
			t.Fatal(err)
		}
	}
	// Events are stored under leases, which nothing else here would need.
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, GenerateName: "event-"},
		InvolvedObject: corev1.ObjectReference{Kind: "Namespace", Namespace: namespace, Name: namespace},
		Reason:         "Testing", Type: corev1.EventTypeNormal,
	}
	if _, err := s.client.CoreV1().Events(namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var views []*view
	for _, resource := range []string{secrets, configMaps} {
		list, err := s.list(ctx, resource, 500)
		if err != nil {
			t.Fatal(err)
		}
		views = append(views, &view{resource: resource, items: list.items, version: list.version})
	}
	return views
}

// underLoad runs the whole load, kills the leader when a third of it is done and
// brings it back at two thirds.
func underLoad(ctx context.Context, t *testing.T, c *cluster.Cluster, tally *cluster.Tally, l *load) {
	const total = 2 * objects
	began := time.Now()
	rivalry, endRivalry := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { l.rivalry(rivalry, t) })
	others.Go(func() { pages(rivalry, t, l.store) })

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
	l.lives(ctx, t, func(done int64) {
		switch done {
		case total / 3:
			close(kill)
		case total * 2 / 3:
			close(resume)
		}
	})
	endRivalry()
	others.Wait()
	t.Logf("%d creates, %d updates, %d deletes acknowledged in %v; %d conflicts (409), %d requests without an answer, repeated",
		l.created.Load(), l.updated.Load(), l.deleted.Load(), time.Since(began).Round(time.Second), l.conflicts.Load(), l.missed.Load())
	if l.conflicts.Load() < objects/10 {
		t.Errorf("only %d conflicts: the load did not do what it is for", l.conflicts.Load())
	}
}

// pages lists in pages for as long as the load runs: each list is of one version,
// however much is written meanwhile.
func pages(ctx context.Context, t *testing.T, s store) {
	lists, most, failed := 0, 0, 0
	for ctx.Err() == nil {
		list, err := s.list(ctx, secrets, 100)
		switch {
		case err == nil:
			lists, most = lists+1, max(most, list.pages)
		case ctx.Err() == nil && strings.Contains(err.Error(), "page"):
			t.Error(err)
		default:
			failed++ // a member is down, or the list was compacted away under it
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Logf("%d lists in up to %d pages each during the load, %d cut short", lists, most, failed)
	if lists == 0 || most < 2 {
		t.Error("no list in pages succeeded during the load")
	}
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

// agreement compares the three accounts of the same history: the ledger, a list and
// the events. It returns the list.
func agreement(ctx context.Context, t *testing.T, l *load, views []*view) map[object]item {
	all, found := map[object]item{}, map[object]stored{}
	for _, v := range views {
		list, err := l.store.list(ctx, v.resource, 100)
		if err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(time.Minute)
		for v.difference(list) != "" && time.Now().Before(deadline) {
			time.Sleep(100 * time.Millisecond)
		}
		if difference := v.difference(list); difference != "" {
			t.Errorf("the events do not add up to the list: %s", difference)
		}
		events, streams := v.seen()
		t.Logf("%s: %d listed in %d pages, %d events in %d streams", v.resource, len(list.items), list.pages, events, streams)
		for name, i := range list.items {
			all[object{v.resource, name}] = i
			found[object{v.resource, name}] = stored{i.version, i.payload}
		}
	}
	increments := checkCounters(t, l, found)
	differences := l.ledger.disagreements(found)
	for _, d := range differences[:min(len(differences), 20)] {
		t.Error(d)
	}
	present, absent, open := l.ledger.counts()
	t.Logf("ledger: %d present, %d deleted, %d open; %d increments; %d disagreements", present, absent, open, increments, len(differences))
	if present < objects/2 || absent < objects/2 || open > 0 {
		t.Errorf("the ledger holds too little to prove anything, or left outcomes open")
	}
	return all
}

// checkCounters holds each counter to the increments that were acknowledged, and
// takes it out of what the ledger is compared with.
func checkCounters(t *testing.T, l *load, found map[object]stored) (increments int64) {
	for n := range counters {
		o := counter(n)
		have, at, most := int64(atoi(found[o].payload)), l.acknowledged[n].Load(), l.acknowledged[n].Load()+l.open[n].Load()
		if have < at || have > most {
			t.Errorf("%v stands at %d; acknowledged increments %d, and %d without an answer", o, have, at, l.open[n].Load())
		}
		increments += at
		delete(found, o)
	}
	if increments == 0 {
		t.Error("no counter was ever incremented")
	}
	return increments
}

// sameInEtcd looks behind the API server's back: every member holds exactly the
// keys that were listed, at the revisions that were listed, and all hash alike.
func sameInEtcd(ctx context.Context, t *testing.T, c *cluster.Cluster, want map[object]item) {
	hashes := map[uint32]bool{}
	_, revision := c.Leader(t, ctx)
	for _, m := range c.Members {
		client := c.Etcd(t, c.TLS(t, "admin"), m)
		have := map[object]string{}
		for _, resource := range []string{secrets, configMaps} {
			prefix := "/registry/" + resource + "/" + namespace + "/"
			keys, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range keys.Kvs {
				have[object{resource, strings.TrimPrefix(string(kv.Key), prefix)}] = strconv.FormatInt(kv.ModRevision, 10)
			}
		}
		for o, i := range want {
			if have[o] != i.version {
				t.Errorf("%s holds %v at revision %q, kube-apiserver listed it at %s", m.Name, o, have[o], i.version)
			}
		}
		if len(have) != len(want) {
			t.Errorf("%s holds %d keys, kube-apiserver listed %d", m.Name, len(have), len(want))
		}
		hash, err := client.HashKV(ctx, m.ClientAddr(), revision)
		if err != nil {
			t.Fatal(err)
		}
		hashes[hash.Hash] = true
	}
	if len(hashes) != 1 {
		t.Errorf("the members' contents hash to %d different values at revision %d", len(hashes), revision)
	}
	t.Logf("%d keys in etcd, the same on %d members, hashes alike at revision %d", len(want), len(c.Members), revision)
}

// noDenial holds the guard to its word: from its first request to its last,
// kube-apiserver was refused nothing, and the counters that say so do count.
func noDenial(ctx context.Context, t *testing.T, c *cluster.Cluster, tally *cluster.Tally) {
	if tally == nil {
		return
	}
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
	for action, least := range map[string]int{
		"KV.Txn": 2 * objects, "KV.Txn:Compare": 2 * objects, "KV.Txn:Put": 2 * objects,
		"KV.Txn:DeleteRange": objects / 2, "KV.Range": 1, "Watch.Watch": 1, "Lease.LeaseGrant": 1, "KV.Compact": 1,
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
func deniedElsewhere(ctx context.Context, t *testing.T, c *cluster.Cluster, tally *cluster.Tally) {
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
