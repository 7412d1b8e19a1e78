package offline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/seal"
)

// put is one record of a made database: a put, or a deletion.
type put struct {
	main, sub int64
	key       string
	stored    []byte
	deleted   bool
	created   int64
	version   int64
	lease     int64
}

func (p put) at() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.main))
	b = binary.BigEndian.AppendUint64(append(b, '_'), uint64(p.sub))
	if p.deleted {
		b = append(b, 't')
	}
	return b
}

func (p put) kv() *mvccpb.KeyValue {
	if p.deleted {
		return &mvccpb.KeyValue{Key: []byte(p.key)}
	}
	return &mvccpb.KeyValue{Key: []byte(p.key), Value: p.stored, CreateRevision: p.created, ModRevision: p.main, Version: p.version, Lease: p.lease}
}

// otherBuckets is what an etcd's database holds besides its keys. The alarm's entry
// has no value.
var otherBuckets = map[string]map[string]string{
	"meta":      {"consistent_index": "\x00\x00\x00\x00\x00\x00\x01\x00", "term": "\x00\x00\x00\x00\x00\x00\x00\x02", "storageVersion": "3.7.0"},
	"lease":     {"\x00\x00\x00\x00\x00\x00\x00\x07": "lease seven"},
	"alarm":     {"\x08\x01": ""},
	"auth":      {"authEnabled": "\x01"},
	"authUsers": {"root": "a user", "reader": "another"},
	"authRoles": {},
	"members":   {"8e9e05c52164694d": "{}"},
}

// database writes a database of etcd with these records.
func database(t testing.TB, puts []put) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(file, 0o600, &bolt.Options{NoSync: true})
	check(t, err)
	check(t, db.Update(func(tx *bolt.Tx) error {
		for name, entries := range otherBuckets {
			b, err := tx.CreateBucket([]byte(name))
			check(t, err)
			for k, v := range entries {
				check(t, b.Put([]byte(k), []byte(v)))
			}
		}
		b, err := tx.CreateBucket([]byte("key"))
		check(t, err)
		for _, p := range puts {
			stored, err := proto.Marshal(p.kv())
			check(t, err)
			check(t, b.Put(p.at(), stored))
		}
		return nil
	}))
	check(t, db.Close())
	return file
}

// snapshot is the same with the hash at its end.
func snapshot(t testing.TB, puts []put) (file string) {
	t.Helper()
	file = database(t, puts)
	data, err := os.ReadFile(file)
	check(t, err)
	sum := sha256.Sum256(data)
	check(t, os.WriteFile(file, append(data, sum[:]...), 0o600))
	return file
}

// content is everything in a database, by bucket.
func content(t testing.TB, file string) map[string]map[string]string {
	t.Helper()
	db, err := bolt.Open(file, 0, &bolt.Options{ReadOnly: true})
	check(t, err)
	defer db.Close()
	all := map[string]map[string]string{}
	check(t, db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("%s: %v", file, err)
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			all[string(name)] = map[string]string{}
			return b.ForEach(func(k, v []byte) error {
				all[string(name)][string(k)] = string(v)
				return nil
			})
		})
	}))
	return all
}

// expect holds the records of a file against what they should be.
func expect(t *testing.T, file string, want []put) {
	t.Helper()
	got := content(t, file)
	for name, entries := range otherBuckets {
		if fmt.Sprint(got[name]) != fmt.Sprint(entries) || got[name] == nil {
			t.Errorf("bucket %s has %q, want %q", name, got[name], entries)
		}
	}
	if len(got) != len(otherBuckets)+1 {
		t.Errorf("%d buckets", len(got))
	}
	for _, p := range want {
		stored, there := got["key"][string(p.at())]
		if !there {
			t.Errorf("key %q has no revision %d_%d (deleted: %t)", p.key, p.main, p.sub, p.deleted)
			continue
		}
		var kv mvccpb.KeyValue
		check(t, proto.Unmarshal([]byte(stored), &kv))
		if !proto.Equal(&kv, p.kv()) {
			t.Errorf("revision %d is %.300v\nwant %.300v", p.main, &kv, p.kv())
		}
	}
	if len(got["key"]) != len(want) {
		t.Errorf("%d records, want %d", len(got["key"]), len(want))
	}
}

// fakeKMS wraps with nothing; what a ring's own tests hold need not be held here.
type fakeKMS struct{}

func (fakeKMS) Name() string { return "fake" }
func (fakeKMS) Status(context.Context) (kms.Status, error) {
	return kms.Status{Version: "v2", Healthz: "ok", KeyID: "k"}, nil
}
func (fakeKMS) Encrypt(_ context.Context, _ string, p []byte) (kms.Wrapped, error) {
	return kms.Wrapped{Ciphertext: bytes.Clone(p), KeyID: "k"}, nil
}
func (fakeKMS) Decrypt(_ context.Context, _ string, w kms.Wrapped) ([]byte, error) {
	return bytes.Clone(w.Ciphertext), nil
}

// ring has two data keys, of which the second is active.
func ring(t testing.TB, phase keyring.Phase) *keyring.Opened {
	t.Helper()
	ctx := context.Background()
	o, err := keyring.Create(ctx, phase, []kms.Provider{fakeKMS{}}, time.Now())
	check(t, err)
	o, err = o.WithNewKey(ctx, []kms.Provider{fakeKMS{}}, time.Now())
	check(t, err)
	o, err = o.WithActive(2)
	check(t, err)
	return o
}

func sealed(k *seal.Key, key, value string) []byte {
	return k.Seal(nil, []byte(key), []byte(value))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
