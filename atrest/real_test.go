package atrest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/etcdguard/etcdguard/atrest"
	"github.com/etcdguard/etcdguard/internal/difftest/stock"
	"github.com/etcdguard/etcdguard/seal"
)

// canary is in every value that these tests write. It must be in no report.
const canary = "canary-5f0e"

var (
	ringID  = seal.RingID{1, 2, 3, 4, 5, 6, 7, 8}
	sealKey = seal.NewKey(ringID, 7, &[32]byte{9})
)

// object is what a kube-apiserver would store for a Secret.
func object(n int) []byte {
	return []byte("k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x20" + strings.Repeat(canary, 1+n%40))
}

func plain(_ string, value []byte) []byte { return value }

func sealed(key string, value []byte) []byte { return sealKey.Seal(nil, []byte(key), value) }

// write fills an etcd with live values, history, deleted keys whose pages are free
// again, values in nested transactions and in comparisons, and a value of many pages.
func write(t *testing.T, address string, form func(key string, value []byte) []byte) {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	put := func(key string, value []byte) clientv3.Op { return clientv3.OpPut(key, string(form(key, value))) }
	do := func(op clientv3.Op) {
		if _, err := c.Do(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	// So many that what etcd writes over of their pages, which is a matter of its timing,
	// leaves enough to be found.
	for i := range 1200 {
		do(put(fmt.Sprintf("/registry/secrets/gone/%d", i), object(i)))
	}
	if _, err := c.Delete(ctx, "/registry/secrets/gone/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	rev, err := c.Get(ctx, "/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compact(ctx, rev.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	for i := range 30 { // three revisions each: one live, two of history
		for range 3 {
			do(put(fmt.Sprintf("/registry/configmaps/default/%d", i), object(i)))
		}
	}
	do(put("/registry/apps.example.com/widgets/default/w", object(1)))
	do(put("/app/big", bytes.Repeat([]byte(canary), 5000)))
	inner := clientv3.OpTxn(nil, []clientv3.Op{put("/app/nested", []byte(canary))}, nil)
	compared := clientv3.Compare(clientv3.Value("/app/none"), "=", string(form("/app/none", []byte(canary))))
	if _, err := c.Txn(ctx).If(compared).Then(put("/app/then", []byte(canary))).Else(inner).Commit(); err != nil {
		t.Fatal(err)
	}
}

// dataDir is the directory of an etcd that ran and was stopped.
func dataDir(t *testing.T, form func(string, []byte) []byte, during func(dir, address string)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	t.Run("etcd", func(t *testing.T) {
		address := stock.Start(t, stock.Config{Set: func(cfg *embed.Config) {
			cfg.Dir, cfg.SnapshotCount, cfg.MaxRequestBytes = dir, 200, 1<<20
		}})
		write(t, address, form)
		if during != nil {
			during(dir, address)
		}
	})
	return dir
}

func scan(t *testing.T, opts atrest.Options, paths ...string) *atrest.Report {
	t.Helper()
	r, err := atrest.Scan(t.Context(), paths, opts)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(canary[:8])) {
		t.Errorf("the report has a value in it: %s", text)
	}
	return r
}

// total adds up the rows of one kind.
func total(r *atrest.Report, kind atrest.Kind) (p atrest.Places) {
	for _, row := range r.Totals {
		if row.Kind == kind {
			p.Live.Values += row.Live.Values
			p.History.Values += row.History.Values
			p.Log.Values += row.Log.Values
			p.Residue.Values += row.Residue.Values
		}
	}
	return p
}

// contains looks for the canary in the files themselves.
func contains(t *testing.T, dir string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte(canary))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const live, history = 30 + 1 + 1 + 1, 60

func checkPlaces(t *testing.T, r *atrest.Report, kind atrest.Kind) {
	t.Helper()
	p := total(r, kind)
	if p.Live.Values != live || p.History.Values != history {
		t.Errorf("%s: %d live and %d in history, want %d and %d", kind, p.Live.Values, p.History.Values, live, history)
	}
	// 1,200 gone ones, and the puts, the else branch and the comparison; some of the
	// first logs may be purged.
	if want := int64(90 + 1 + 1 + 1 + 2 + 1); p.Log.Values < want {
		t.Errorf("%s: %d in the log, want at least %d", kind, p.Log.Values, want)
	}
	if p.Residue.Values < 100 {
		t.Errorf("%s: %d in residue: deleted values are not found", kind, p.Residue.Values)
	}
}

func TestAPlaintextStoreIsFoundOut(t *testing.T) {
	dir := dataDir(t, plain, func(dir, _ string) {
		// The directory of the running one; it commits to the file now and then.
		for r := scan(t, atrest.Options{}, dir); total(r, atrest.Plaintext).Live.Values != live; r = scan(t, atrest.Options{}, dir) {
			time.Sleep(50 * time.Millisecond) // until the test's deadline
		}
	})
	if !contains(t, dir) {
		t.Fatal("the control is wrong: no plaintext was written")
	}
	r := scan(t, atrest.Options{Keys: true}, dir)
	t.Log(r.Verdict)
	checkPlaces(t, r, atrest.Plaintext)
	if p := total(r, atrest.Sealed).Total(); p.Values != 0 {
		t.Errorf("%d sealed values in a store without any", p.Values)
	}
	if b := r.Breaches(atrest.Expect{Sealed: true}); len(b) == 0 {
		t.Error("it passes for sealed")
	}
	resources := map[string]bool{}
	for _, g := range r.Groups {
		resources[g.Resource] = true
	}
	for _, want := range []string{"secrets", "configmaps", "widgets.apps.example.com"} {
		if !resources[want] {
			t.Errorf("no group for %s among %v", want, resources)
		}
	}
	names := map[atrest.Key]bool{}
	gone := 0
	for _, k := range r.Keys {
		if strings.HasPrefix(k.Name, `"/registry/secrets/gone/`) && k.Place == "residue" {
			gone++
		}
		k.File = ""
		names[k] = true
	}
	if gone == 0 {
		t.Error("no key that was deleted is named in residue")
	}
	for _, want := range []atrest.Key{{Name: `"/app/big"`, Place: "live"}, {Name: `"/registry/configmaps/default/3"`, Place: "history"},
		{Name: `"/app/nested"`, Place: "log"}, {Name: `"/app/none"`, Place: "log"}} {
		if !names[want] {
			t.Errorf("%v is not among the keys with plaintext", want)
		}
	}
}

func TestASealedStoreHasNoPlaintext(t *testing.T) {
	dir := dataDir(t, sealed, nil)
	if contains(t, dir) {
		t.Fatal("the control is wrong: plaintext was written")
	}
	r := scan(t, atrest.Options{}, dir)
	t.Log(r.Verdict)
	checkPlaces(t, r, atrest.Sealed)
	if p := total(r, atrest.Plaintext).Total(); p.Values != 0 {
		t.Errorf("%d plaintext values in a sealed store: %+v", p.Values, r.Totals)
	}
	if b := r.Breaches(atrest.Expect{Sealed: true, Ring: ringID}); len(b) != 0 {
		t.Errorf("breaches: %v", b)
	}
	if b := r.Breaches(atrest.Expect{Sealed: true, Ring: seal.RingID{1}}); len(b) == 0 {
		t.Error("it passes for another ring's")
	}
	for _, f := range r.Files {
		if len(f.Problems) > 0 {
			t.Errorf("%s: %v", f.Path, f.Problems)
		}
	}
}

// What etcdctl snapshot save writes, whole and torn; and the file of a store that is
// being written to, which holds still in what is said of it.
func TestASavedSnapshot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backup.db")
	dataDir(t, plain, func(_, address string) {
		c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		snapshot, err := c.SnapshotWithVersion(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		if _, err := all.ReadFrom(snapshot.Snapshot); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, all.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	r := scan(t, atrest.Options{}, file)
	p := total(r, atrest.Plaintext)
	if p.Live.Values != live || p.History.Values != history || r.Files[0].Checksum != "right" {
		t.Errorf("%+v, checksum %q", p, r.Files[0].Checksum)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := scan(t, atrest.Options{}, file); r.Files[0].Checksum != "wrong" {
		t.Errorf("one bit changed: the checksum is %q", r.Files[0].Checksum)
	}
	for _, keep := range []int{len(data) - 32, len(data) / 2, 5000, 4096, 100, 3} {
		if err := os.WriteFile(file, data[:keep], 0o600); err != nil {
			t.Fatal(err)
		}
		r := scan(t, atrest.Options{}, file)
		p := total(r, atrest.Plaintext).Total()
		if keep >= len(data)/2 && p.Values == 0 {
			t.Errorf("cut to %d bytes: no plaintext found", keep)
		}
	}
}
