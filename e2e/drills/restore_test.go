package drills

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/kube"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

const (
	// compaction is how often kube-apiserver compacts here.
	compaction = 20 * time.Second
	// objects is how many Secrets, and how many ConfigMaps, kube-apiserver writes for a
	// drill that needs some.
	objects = 400

	// Keys of Kubernetes begin with the first; values that kube's load wrote have the
	// second or the third in them, and nothing else has.
	kubeKey, kubeSecret, kubeConfigMap = "/registry/secrets/ledger/object-", "secrets/object-", "configmaps/object-"
)

// kubeData has a kube-apiserver write to the cluster, and stops it.
func kubeData(t *testing.T, d *desk) kube.Objects {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	api := kube.Start(t, d.Cluster, compaction)
	traffic := kube.Begin(ctx, t, api, false)
	traffic.Run(ctx, t, func(n int) bool { return n < objects }, func(int64) {})
	written := traffic.Settle(ctx, t)
	api.Stop(t)
	return written
}

// listed has another kube-apiserver list everything, and write.
func listed(t *testing.T, c *cluster.Cluster, written kube.Objects) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	api := kube.Start(t, c, compaction)
	written.ListedBy(ctx, t, api)
	written.Rewritten(ctx, t, api)
	written.SameIn(ctx, t, c)
	api.Stop(t)
}

// snapshot saves one with etcd's own tool and the certificate for backups.
func (d *desk) snapshot(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "backup.db")
	must(t, d.etcdctl, append([]string{"snapshot", "save", file}, d.as("backup", d.Members[0])...)...)
	return file
}

// restore fills the data directories of a cluster that never ran from a snapshot.
func (d *desk) restore(t *testing.T, file string, more ...string) {
	t.Helper()
	for _, m := range d.Members {
		must(t, d.etcdutl, append([]string{"snapshot", "restore", file, "--name", m.Name, "--data-dir", m.File("data"),
			"--initial-cluster", d.Initial, "--initial-advertise-peer-urls", m.PeerURL}, more...)...)
	}
}

// A snapshot of a sealed cluster comes up elsewhere: new members, new URLs, a cluster
// id of their own, revisions moved on.
func TestASnapshotIsRestoredSealedAndReadable(t *testing.T) {
	d, keyFile := sealedCluster(t, 3)
	written := kubeData(t, d)
	before := d.status(t)
	file := d.snapshot(t)
	onlySealed(t, d.Hand, kubeKey, kubeSecret, kubeConfigMap)
	if n := occurrences(t, filepath.Dir(file), kubeSecret); n > 0 {
		t.Errorf("the snapshot has a value in the clear in %d places", n)
	}
	d.Stop(t)

	restored := deskOf(t, cluster.ByHand(t, 3))
	restored.ConfigureSealing(t, keyFile)
	restored.restore(t, file, "--bump-revision", "1000000", "--mark-compacted")
	restored.Run(t, peers.Guard)
	listed(t, restored.Cluster, written)
	after := restored.status(t)
	if after.Phase != "strict" || after.Ring != before.Ring {
		t.Errorf("restored, the cluster is in phase %q with ring %s; it was strict with %s", after.Phase, after.Ring, before.Ring)
	}
	for _, m := range after.Members {
		if !m.Confirmed {
			t.Errorf("restored, %s has not acknowledged the ring: %s", m.Name, m.Waiting)
		}
	}
	onlySealed(t, restored.Hand, kubeKey, kubeSecret, kubeConfigMap)
}

// The way back when etcdguard is to go: a sealed snapshot becomes one that stock etcd
// restores and serves.
func TestASealedSnapshotOpensForStockEtcd(t *testing.T) {
	d, keyFile := sealedCluster(t, 3)
	written := kubeData(t, d)
	file := d.snapshot(t)
	ring := filepath.Join(t.TempDir(), "ring.json")
	must(t, d.guard, "ring", "export", "--guard-config", d.Members[0].File("guard.yaml"), "--data-dir", d.Members[0].File("data"), "--out", ring)
	d.Stop(t)
	_ = keyFile

	opened := filepath.Join(t.TempDir(), "opened.db")
	must(t, d.guard, "seal", "open-snapshot", file, opened, "--ring", ring, "--guard-config", d.Members[0].File("guard.yaml"))
	stock := deskOf(t, cluster.ByHand(t, 3))
	stock.restore(t, opened)
	stock.Run(t, cluster.StockEtcd)
	listed(t, stock.Cluster, written)
}
