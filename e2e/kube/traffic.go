package kube

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/ledger"
)

// Traffic is a load on a kube-apiserver, with a ledger of what was acknowledged and
// watchers that follow it.
type Traffic struct {
	load     *load
	views    []*view
	stop     context.CancelFunc
	watchers sync.WaitGroup
}

// Begin makes what the load needs and watches from there on. Settle ends it.
//
// rewrites tells that values will be resealed meanwhile: to Kubernetes, somebody then
// updates objects without changing them.
func Begin(ctx context.Context, t testing.TB, api *APIServer, rewrites bool) *Traffic {
	t.Helper()
	s := store{api.Client}
	l := &load{store: s, ledger: ledger.New()}
	l.ledger.Rewrites = rewrites
	traffic := &Traffic{load: l, views: prepare(ctx, t, s, l)}
	watching, stop := context.WithCancel(ctx)
	traffic.stop = stop
	for _, v := range traffic.views {
		traffic.watchers.Go(func() { v.follow(watching, t, s) })
	}
	t.Cleanup(traffic.end)
	return traffic
}

func (traffic *Traffic) end() {
	traffic.stop()
	traffic.watchers.Wait()
}

// Run takes Secrets and ConfigMaps, numbered from 0 for as long as more says so, each
// through its life, with rivals and lists in pages beside them. progress is called
// after each object. A Traffic runs once.
func (traffic *Traffic) Run(ctx context.Context, t testing.TB, more func(n int) bool, progress func(done int64)) {
	l, began := traffic.load, time.Now()
	beside, endBeside := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { l.rivalry(beside, t) })
	others.Go(func() { pages(beside, t, l.store) })
	l.lives(ctx, t, more, progress)
	endBeside()
	others.Wait()
	t.Logf("%d creates, %d updates, %d deletes acknowledged in %v; %d conflicts (409), %d requests without an answer, repeated",
		l.created.Load(), l.updated.Load(), l.deleted.Load(), time.Since(began).Round(time.Second), l.conflicts.Load(), l.missed.Load())
	if l.conflicts.Load() < l.created.Load()/20 {
		t.Errorf("only %d conflicts: the load did not do what it is for", l.conflicts.Load())
	}
}

// Objects is everything that the traffic left, as it is stored.
type Objects map[ledger.Object]item

// Settle compares the three accounts of the same history: the ledger, a list and the
// events. It ends the watches.
func (traffic *Traffic) Settle(ctx context.Context, t testing.TB) Objects {
	t.Helper()
	all, found := Objects{}, map[ledger.Object]ledger.Stored{}
	for _, v := range traffic.views {
		list, err := traffic.load.store.list(ctx, v.resource, 100)
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
			all[ledger.Object{Resource: v.resource, Name: name}] = i
			found[ledger.Object{Resource: v.resource, Name: name}] = ledger.Stored{Version: i.version, Payload: i.payload}
		}
	}
	traffic.end()
	increments := traffic.load.checkCounters(t, found)
	differences := traffic.load.ledger.Disagreements(found)
	for _, d := range differences[:min(len(differences), 20)] {
		t.Error(d)
	}
	present, absent, open := traffic.load.ledger.Counts()
	t.Logf("ledger: %d present, %d deleted, %d open; %d increments; %d disagreements", present, absent, open, increments, len(differences))
	// Of each resource every other object is deleted, from the first on.
	if done := int(traffic.load.created.Load()); done == 0 || present+absent != done || absent-present > 2 || open > 0 {
		t.Errorf("the ledger holds too little to prove anything, or left outcomes open")
	}
	return all
}

// ListedBy holds a kube-apiserver, which may be another one on other members, to
// listing exactly these objects: same content, same version, same identity.
func (o Objects) ListedBy(ctx context.Context, t testing.TB, api *APIServer) {
	t.Helper()
	s, listed := store{api.Client}, 0
	for _, resource := range []string{secrets, configMaps} {
		list, err := s.list(ctx, resource, 100)
		if err != nil {
			t.Fatal(err)
		}
		listed += len(list.items)
		for name, have := range list.items {
			if want, known := o[ledger.Object{Resource: resource, Name: name}]; !known || have != want {
				t.Errorf("%s %s is listed at version %s; known before: %v, at version %s", resource, name, have.version, known, want.version)
			}
		}
	}
	if listed != len(o) || listed == 0 {
		t.Errorf("%d objects are listed, there were %d", listed, len(o))
	}
}

// SameIn looks behind the API server's back: every member holds exactly the
// keys that were listed, at the revisions that were listed, and all hash alike.
func (o Objects) SameIn(ctx context.Context, t testing.TB, c *cluster.Cluster) {
	t.Helper()
	hashes := map[uint32]bool{}
	_, revision := c.Leader(t, ctx)
	for _, m := range c.Members {
		client := c.Etcd(t, c.TLS(t, "admin"), m)
		have := map[ledger.Object]string{}
		for _, resource := range []string{secrets, configMaps} {
			prefix := "/registry/" + resource + "/" + namespace + "/"
			keys, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range keys.Kvs {
				have[ledger.Object{Resource: resource, Name: strings.TrimPrefix(string(kv.Key), prefix)}] = strconv.FormatInt(kv.ModRevision, 10)
			}
		}
		for object, i := range o {
			if have[object] != i.version {
				t.Errorf("%s holds %v at revision %q, kube-apiserver listed it at %s", m.Name, object, have[object], i.version)
			}
		}
		if len(have) != len(o) {
			t.Errorf("%s holds %d keys, kube-apiserver listed %d", m.Name, len(have), len(o))
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
	t.Logf("%d keys in etcd, the same on %d members, hashes alike at revision %d", len(o), len(c.Members), revision)
}

// prepare makes the namespace and the counters, and views that start from there.
func prepare(ctx context.Context, t testing.TB, s store, l *load) []*view {
	t.Helper()
	name := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := s.client.CoreV1().Namespaces().Create(ctx, name, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for n := range counters {
		if _, err := s.create(ctx, configMaps, item{name: counter(n).Name, payload: "0"}); err != nil {
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

// pages lists in pages for as long as the load runs: each list is of one version,
// however much is written meanwhile.
func pages(ctx context.Context, t testing.TB, s store) {
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

// Rewritten writes some of the objects again through a kube-apiserver, with the same
// content, and takes note of their new versions: what is listed can be changed, too.
func (o Objects) Rewritten(ctx context.Context, t testing.TB, api *APIServer) {
	t.Helper()
	s, done := store{api.Client}, 0
	for object, i := range o {
		again, err := s.update(ctx, object.Resource, i)
		if err == nil && again.version == i.version {
			// An update that changes nothing is not written: change, and change back.
			changed := i
			changed.payload += "x"
			if changed, err = s.update(ctx, object.Resource, changed); err == nil {
				changed.payload = i.payload
				again, err = s.update(ctx, object.Resource, changed)
			}
		}
		if err != nil {
			t.Errorf("%v can't be written again: %v", object, err)
			return
		}
		o[object] = again
		if done++; done == 20 {
			return
		}
	}
}
