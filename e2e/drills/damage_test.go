package drills

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

// asStock runs the cluster as stock etcd for as long as it takes to do something that
// the guard would not allow.
func (d *desk) asStock(t *testing.T, do func(ctx context.Context, client *clientv3.Client)) {
	t.Helper()
	d.Stop(t)
	d.Run(t, cluster.StockEtcd)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := d.Etcd(t, d.TLS(t, "admin"))
	do(ctx, client)
	client.Close()
	d.Stop(t)
}

// Values that do not open fail the requests that need them, by name, and nothing else;
// quarantine gets them out of the way.
func TestAValueThatDoesNotOpenIsListedAndQuarantined(t *testing.T) {
	d, _ := sealedCluster(t, 3)
	written := kubeData(t, d)
	const moved, clear = "/registry/secrets/ledger/zz-moved", "/registry/secrets/ledger/zz-clear"
	d.asStock(t, func(ctx context.Context, client *clientv3.Client) {
		donor, err := client.Get(ctx, kubeKey, clientv3.WithPrefix(), clientv3.WithLimit(1))
		if err != nil || len(donor.Kvs) != 1 {
			t.Fatalf("no value to move: %v", err)
		}
		for key, value := range map[string]string{moved: string(donor.Kvs[0].Value), clear: "k8s\x00 in the clear, behind the guard's back"} {
			if _, err := client.Put(ctx, key, value); err != nil {
				t.Fatal(err)
			}
		}
	})
	d.Run(t, peers.Guard)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	client := d.Etcd(t, d.TLS(t, "admin"))
	revisions := map[string]int64{}
	for _, key := range []string{moved, clear} {
		_, err := client.Get(ctx, key)
		if status.Code(err) != codes.DataLoss || !strings.Contains(err.Error(), key) {
			t.Errorf("reading %s: %v; want DataLoss that names it", key, err)
		}
		keysOnly, err := client.Get(ctx, key, clientv3.WithKeysOnly())
		if err != nil || len(keysOnly.Kvs) != 1 {
			t.Fatalf("reading the name of %s: %v", key, err)
		}
		revisions[key] = keysOnly.Kvs[0].ModRevision
	}
	if _, err := client.Get(ctx, kubeKey, clientv3.WithPrefix()); err != nil {
		t.Errorf("others are not served: %v", err)
	}
	list := d.mustSeal(t, "quarantine", "list")
	for key, revision := range revisions {
		if !strings.Contains(list, key) || !strings.Contains(list, fmt.Sprint(revision)) {
			t.Errorf("seal quarantine list does not name %s at %d:\n%s", key, revision, list)
		}
		d.mustSeal(t, "quarantine", "move", key, fmt.Sprint(revision))
	}
	for _, m := range d.Members {
		everyone, err := d.Etcd(t, d.TLS(t, "admin"), m).Get(ctx, "/registry/secrets/", clientv3.WithPrefix())
		if err != nil || everyone.Count == 0 {
			t.Errorf("%s: with the bad values in quarantine, the prefix is not served: %v", m.Name, err)
		}
	}
	if n := d.status(t).Quarantined; n != 2 {
		t.Errorf("seal status counts %d values in quarantine, want 2", n)
	}
	listed(t, d.Cluster, written)
}

// Everything that knew the ring is gone: etcd's copy, all mirrors, all key files. An
// export and its passphrase were kept elsewhere.
func TestAnExportBringsBackALostRing(t *testing.T) {
	d, _ := sealedCluster(t, 3)
	written := kubeData(t, d)
	ring, away := d.status(t).Ring, t.TempDir()
	export, passphrase := filepath.Join(away, "ring.json"), filepath.Join(away, "passphrase")
	writeFile(t, passphrase, "six random words are what one takes\n")
	m1 := d.Members[0]
	must(t, d.guard, "ring", "export", "--guard-config", m1.File("guard.yaml"), "--data-dir", m1.File("data"),
		"--passphrase-file", passphrase, "--out", export)

	d.asStock(t, func(ctx context.Context, client *clientv3.Client) {
		gone, err := client.Delete(ctx, "\x00etcdguard/", clientv3.WithPrefix())
		if err != nil || gone.Deleted == 0 {
			t.Fatalf("removing etcdguard's keys: %v", err)
		}
	})
	for _, m := range d.Members {
		mirrors, _ := filepath.Glob(m.File("data/*ring*"))
		if len(mirrors) == 0 {
			t.Errorf("%s kept no mirror of the ring", m.Name)
		}
		for _, file := range append(mirrors, m.File("ring-kek.key")) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Remove(filepath.Join(d.Dir, "ring-kek.key")); err != nil {
		t.Fatal(err)
	}
	d.ConfigureSealing(t, "") // a new key file
	for _, m := range d.Members {
		d.Start(t, peers.Guard, m)
	}
	for _, m := range d.Members {
		eventually(t, 2*time.Minute, m.Name+" answers /livez", func() bool {
			code, _, err := m.Get(t, d.Cluster, "/livez")
			return err == nil && code == 200
		})
	}
	// Nobody may get bytes that are not the value, and nobody may write beside them.
	for _, m := range d.Members {
		ready, why, err := m.Get(t, d.Cluster, "/readyz")
		if err != nil || ready != 503 || !strings.Contains(why, ring) || !strings.Contains(why, "ring import") {
			t.Errorf("%s does not say which ring it wants: %d, %v\n%s", m.Name, ready, err, why)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		answer, err := d.Etcd(t, d.TLS(t, "admin"), m).Get(ctx, kubeKey, clientv3.WithPrefix(), clientv3.WithLimit(1))
		cancel()
		if err == nil {
			t.Errorf("%s serves %d values of a ring that is lost", m.Name, len(answer.Kvs))
		}
	}
	// On one member: the others have it from there.
	must(t, d.guard, "ring", "import", export, "--guard-config", m1.File("guard.yaml"), "--data-dir", m1.File("data"), "--passphrase-file", passphrase)
	d.Healthy(t, d.Members...)
	eventually(t, 2*time.Minute, "every member opens the ring", func() bool {
		s := d.status(t)
		return s.Phase == "strict" && s.confirmed()
	})
	listed(t, d.Cluster, written)
}

// A stock etcd on a member's data is past the guard; the others say so.
func TestAnUnguardedMemberIsReported(t *testing.T) {
	d, _ := sealedCluster(t, 3)
	written := kubeData(t, d)
	m1, m3 := d.Members[0], d.Members[2]
	d.Stop(t, m3)
	d.Run(t, cluster.StockEtcd, m3)
	began := time.Now()
	seen := map[string]time.Duration{}
	note := func(where string, is bool) {
		if _, before := seen[where]; is && !before {
			seen[where] = time.Since(began)
		}
	}
	eventually(t, 2*time.Minute, "the unguarded member is reported in log, metric and status", func() bool {
		note("log", len(m1.LogLines(t, "runs without etcdguard", m3.Name)) > 0)
		_, metrics, _ := m1.Get(t, d.Cluster, "/metrics")
		note("metric", strings.Contains(metrics, "\netcdguard_unguarded_members 1\n"))
		note("status", slices.ContainsFunc(d.status(t, m1).Members, func(m memberStatus) bool { return m.Name == m3.Name && m.Unguarded }))
		return len(seen) == 3
	})
	t.Logf("seen after it was healthy: %v", seen)
	if slices.ContainsFunc(d.status(t, m1).Members, func(m memberStatus) bool { return m.Name != m3.Name && m.Unguarded }) {
		t.Error("a guarded member is reported, too")
	}
	d.Stop(t, m3)
	d.Run(t, peers.Guard, m3)
	eventually(t, 2*time.Minute, "the report ends with its reason", func() bool {
		_, metrics, _ := m1.Get(t, d.Cluster, "/metrics")
		return strings.Contains(metrics, "\netcdguard_unguarded_members 0\n")
	})
	listed(t, d.Cluster, written)
}

// A member that can't have its keys takes part in raft, keeps its client door shut,
// says what it waits for, and needs no restart when that is there.
func TestAMemberWithoutItsKeyFileWaitsForIt(t *testing.T) {
	d, _ := sealedCluster(t, 3)
	written := kubeData(t, d)
	m1, m2, m3 := d.Members[0], d.Members[1], d.Members[2]
	keyFile, away := m1.File("ring-kek.key"), filepath.Join(t.TempDir(), "key")
	content, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	keyID := ""
	for line := range strings.Lines(string(content)) {
		if id, is := strings.CutPrefix(line, "id "); is {
			keyID = strings.TrimSpace(id)
		}
	}
	d.Stop(t, m1)
	if err := os.Rename(keyFile, away); err != nil {
		t.Fatal(err)
	}
	d.Start(t, peers.Guard, m1)
	eventually(t, 2*time.Minute, "the member lives and is not ready, and says why", func() bool {
		live, _, err := m1.Get(t, d.Cluster, "/livez")
		ready, why, err2 := m1.Get(t, d.Cluster, "/readyz")
		return err == nil && err2 == nil && live == 200 && ready == 503 && strings.Contains(why, "local") && strings.Contains(why, keyID)
	})
	pid := m1.PID(t)
	// It votes: with m2 gone it is the majority.
	d.Stop(t, m2)
	client := d.Etcd(t, d.TLS(t, "admin"), m3)
	eventually(t, 2*time.Minute, "the member without keys votes", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := client.Put(ctx, "/drill/voted", "yes")
		return err == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := d.Etcd(t, d.TLS(t, "admin"), m1).Get(ctx, "/drill/voted"); err == nil {
		t.Error("the member without keys serves clients")
	}
	d.Run(t, peers.Guard, m2)
	if err := os.Rename(away, keyFile); err != nil {
		t.Fatal(err)
	}
	d.Healthy(t, m1)
	eventually(t, 2*time.Minute, "the member is ready", func() bool {
		code, _, err := m1.Get(t, d.Cluster, "/readyz")
		return err == nil && code == 200
	})
	if m1.PID(t) != pid || !d.Runs(m1) {
		t.Error("the member was started again")
	}
	ctx2, cancel2 := context.WithTimeout(t.Context(), time.Minute)
	defer cancel2()
	answer, err := d.Etcd(t, d.TLS(t, "admin"), m1).Get(ctx2, "/drill/voted")
	if err != nil || len(answer.Kvs) != 1 || string(answer.Kvs[0].Value) != "yes" {
		t.Errorf("with its key file back, the member answers %v, %v", answer, err)
	}
	listed(t, d.Cluster, written)
}
