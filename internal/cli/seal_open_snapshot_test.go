package cli

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
)

// sealedDatabase makes a guard configuration with a key file, a ring, and a copied
// database with one value that opens and, if moved, one that was sealed elsewhere.
func sealedDatabase(t *testing.T, moved bool) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := kms.CreateKeyFile(filepath.Join(dir, "kek.key"), nil)
	must(err)
	guard := filepath.Join(dir, "guard.yaml")
	must(os.WriteFile(guard, []byte("apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\nsealing:\n  providers:\n    - name: local\n      local: {key-file: kek.key}\n"), 0o600))
	member, err := (&ringPlace{guardConfig: guard}).open()
	must(err)
	ring, err := keyring.Create(context.Background(), keyring.Strict, member.providers, time.Now())
	must(err)
	must(os.WriteFile(filepath.Join(dir, "ring.json"), ring.Document().Marshal(), 0o600))

	db, err := bolt.Open(filepath.Join(dir, "db"), 0o600, nil)
	must(err)
	must(db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("key"))
		must(err)
		put := func(revision uint64, key string, value []byte) {
			at := binary.BigEndian.AppendUint64(append(binary.BigEndian.AppendUint64(nil, revision), '_'), 0)
			stored, err := proto.Marshal(&mvccpb.KeyValue{Key: []byte(key), Value: value, CreateRevision: int64(revision), ModRevision: int64(revision), Version: 1})
			must(err)
			must(b.Put(at, stored))
		}
		put(2, keyring.DocumentKey, ring.Document().Marshal())
		put(3, "/a", ring.Active().Seal(nil, []byte("/a"), []byte("the value")))
		if moved {
			put(4, "/b", ring.Active().Seal(nil, []byte("/a"), []byte("the value")))
		}
		return nil
	}))
	must(db.Close())
	return dir
}

// openSnapshot runs the verb in dir.
func openSnapshot(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(dir)
	var out, err bytes.Buffer
	code = Main(append([]string{"etcdguard", "seal", "open-snapshot"}, args...), &out, &err)
	if strings.Contains(out.String()+err.String(), "the value\n") {
		t.Error("a value was shown")
	}
	return code, out.String(), err.String()
}

func TestOpenSnapshot(t *testing.T) {
	dir := sealedDatabase(t, false)
	for _, ring := range [][]string{nil, {"--ring", "ring.json"}} {
		code, stdout, stderr := openSnapshot(t, dir, append([]string{"db", "plain", "--guard-config", "guard.yaml"}, ring...)...)
		if code != 0 || !strings.Contains(stdout, "etcdutl snapshot restore plain") || !strings.Contains(stderr, "no hash") {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		data, err := os.ReadFile("plain")
		if err != nil || !bytes.Contains(data, []byte("the value")) || bytes.Contains(data, []byte("\xe5eg")) {
			t.Fatalf("the output is not opened: %v", err)
		}
		if code, _, stderr := openSnapshot(t, dir, "db", "plain", "--guard-config", "guard.yaml"); code != 2 || !strings.Contains(stderr, "plain is there already") {
			t.Errorf("a second time: exit code %d, %s", code, stderr)
		}
		if err := os.Remove("plain"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenSnapshotListsWhatDoesNotOpen(t *testing.T) {
	dir := sealedDatabase(t, true)
	code, stdout, stderr := openSnapshot(t, dir, "db", "plain", "--guard-config", "guard.yaml", "-o", "json")
	var got struct {
		Out        string
		Unreadable []struct {
			Key         []byte
			ModRevision int64
			Newest      bool
			Reason      string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in %s%s", err, stdout, stderr)
	}
	if code != 1 || got.Out != "" || len(got.Unreadable) != 1 || string(got.Unreadable[0].Key) != "/b" || got.Unreadable[0].ModRevision != 4 || !strings.Contains(stderr, "--skip-unreadable") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, _ := openSnapshot(t, dir, "--check", "db", "--guard-config", "guard.yaml"); code != 1 || !strings.Contains(stdout, `"/b"  `) {
		t.Errorf("checking: exit code %d\n%s", code, stdout)
	}
	if _, err := os.Lstat("plain"); err == nil {
		t.Error("there is an output")
	}
	if code, stdout, _ := openSnapshot(t, dir, "db", "plain", "--guard-config", "guard.yaml", "--skip-unreadable"); code != 0 || !strings.Contains(stdout, `"/b"`) {
		t.Errorf("skipping: exit code %d\n%s", code, stdout)
	}
}

func TestOpenSnapshotMisused(t *testing.T) {
	dir := sealedDatabase(t, false)
	for _, args := range [][]string{{}, {"db", "plain"}, {"db", "--guard-config", "guard.yaml"}, {"--check", "db", "plain", "--guard-config", "guard.yaml"},
		{"db", "plain", "--guard-config", "guard.yaml", "--ring", "guard.yaml"}, {"db", "plain", "--guard-config", "guard.yaml", "-o", "xml"}} {
		if code, _, stderr := openSnapshot(t, dir, args...); code != 2 || !strings.Contains(stderr, "hint:") {
			t.Errorf("%q: exit code %d, %s", args, code, stderr)
		}
	}
	if err := os.Remove("kek.key"); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := openSnapshot(t, dir, "db", "plain", "--guard-config", "guard.yaml"); code != 1 || !strings.Contains(stderr, `provider "local"`) {
		t.Errorf("without the key file: exit code %d, %s", code, stderr)
	}
}
