package drills

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// What judges a drill is judged here: each has to notice what it is there to notice.

func TestASearchFindsWhatLiesAcrossTheEndOfABuffer(t *testing.T) {
	const text = "needle"
	for at := 1<<20 - len(text) - 1; at <= 1<<20+1; at++ {
		path := filepath.Join(t.TempDir(), "file")
		content := bytes.Repeat([]byte{'n'}, 3<<20)
		copy(content[at:], text)
		copy(content[0:], text)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := occurrences(t, filepath.Dir(path), text); n != 2 {
			t.Fatalf("at %d: found %d times, want 2", at, n)
		}
	}
}

func TestTheRawReaderTellsFormsApart(t *testing.T) {
	h := cluster.ByHand(t, 1)
	h.Run(t, cluster.StockEtcd)
	client := h.Etcd(t, h.TLS(t, "admin"))
	sealed := string(sealedMarker) + "whatever"
	for _, put := range [][2]string{
		{"/a", "plain"}, {"/a", sealed}, // history in the clear, live sealed
		{"/b", sealed}, {"/b", "plain again"}, // the other way round
		{"/c", "e5egis text"}, {"\x00etcdguard/ring", "not a client's"},
	} {
		if _, err := client.Put(t.Context(), put[0], put[1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Delete(t.Context(), "/c"); err != nil {
		t.Fatal(err)
	}
	h.Stop(t)
	all := revisions(t, h.Members[0])
	if got, want := formsOf(all), (forms{sealed: 1, plain: 2, liveSealed: 1, livePlain: 1}); got != want {
		t.Errorf("forms: got %+v, want %+v", got, want)
	}
	if n := occurrences(t, h.Members[0].File("data"), "plain again"); n < 2 {
		t.Errorf("a value in the clear was found %d times; it lies in the database and in the log", n)
	}
}

func TestTheLoadNoticesWhatIsDoneBehindItsBack(t *testing.T) {
	h := cluster.ByHand(t, 1)
	h.Run(t, cluster.StockEtcd)
	l, stop := startLoad(t, h.Cluster, &regime{})
	for l.acknowledged.Load() < 200 {
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	honest := everything(t, h.Cluster, h.Members[0], l.prefix)
	if d := l.differences(honest); len(d) > 0 {
		t.Fatalf("nothing was done, and the load says %q", d)
	}
	for _, c := range []struct {
		what string
		done []*mvccpb.KeyValue
		want string
	}{
		{"a key is lost", honest[1:], "is gone"},
		{"a value is another key's", append([]*mvccpb.KeyValue{{Key: honest[0].Key, Value: honest[1].Value}}, honest[1:]...), "something else"},
		{"a value is still sealed", append([]*mvccpb.KeyValue{{Key: honest[0].Key, Value: sealedMarker}}, honest[1:]...), "something else"},
		{"a key nobody wrote", append([]*mvccpb.KeyValue{{Key: []byte("/drill/x"), Value: []byte("v")}}, honest...), "nobody ever wrote"},
	} {
		if d := l.differences(c.done); !strings.Contains(strings.Join(d, "\n"), c.want) {
			t.Errorf("%s: the load says %q, want %q", c.what, d, c.want)
		}
	}
}

func TestTheWatchNoticesAQuorumThatIsLost(t *testing.T) {
	h := cluster.ByHand(t, 3)
	h.Run(t, cluster.StockEtcd)
	for _, drill := range []bool{true, false} {
		w := watchQuorum(t, &desk{Hand: h})
		if drill {
			w.disturb(h.Members[:2])
		}
		h.Members[0].Kill(t)
		h.Members[1].Kill(t)
		before := w.looks()
		eventually(t, stubborn, "the watch looks on", func() bool { return w.looks() > before+10 })
		w.stop()
		if noticed := len(w.strange) > 0; noticed == drill {
			t.Errorf("two members were killed, by the drill: %v; what was seen: %q", drill, w.strange)
		}
		h.Run(t, cluster.StockEtcd)
	}
}

// The control of the drills with snapshots: stock etcd does the same with the same
// steps, and what is looked for in raw files lies there when nobody seals it.
func TestStockEtcdRestoresASnapshotInTheClear(t *testing.T) {
	notInShort(t)
	d := deskOf(t, cluster.ByHand(t, 3))
	d.Run(t, cluster.StockEtcd)
	written := kubeData(t, d)
	file := d.snapshot(t)
	d.Stop(t)
	for _, m := range d.Members {
		for _, text := range []string{kubeKey, kubeSecret, kubeConfigMap} {
			if occurrences(t, m.File("data"), text) == 0 {
				t.Errorf("%s: %q was not found in the raw files", m.Name, text)
			}
		}
		if f := formsOf(revisions(t, m)); !f.allPlain() {
			t.Errorf("%s: %+v", m.Name, f)
		}
	}
	restored := deskOf(t, cluster.ByHand(t, 3))
	restored.restore(t, file, "--bump-revision", "1000000", "--mark-compacted")
	restored.Run(t, cluster.StockEtcd)
	listed(t, restored.Cluster, written)
}

// notInShort leaves a drill to `make e2e`: what CI runs has to end in time.
func notInShort(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short; make e2e runs it")
	}
}
