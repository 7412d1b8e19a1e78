package drills

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// This file reads what lies on disk with nothing of etcdguard: the marker of a sealed
// value is written here once more, on purpose.
var sealedMarker = []byte{0xe5, 'e', 'g', 1}

// occurrences counts a text in all bytes of all files of a folder, whatever they are
// and whoever is writing to them.
func occurrences(t testing.TB, dir, text string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var found int
			found, err = inFile(path, []byte(text))
			n += found
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file of a running member that is gone meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func inFile(path string, text []byte) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buffer, kept := make([]byte, 1<<20), 0
	for {
		read, err := f.Read(buffer[kept:])
		held := buffer[:kept+read]
		n += bytes.Count(held, text)
		// What could be the beginning of the text goes before what is read next.
		kept = copy(buffer, held[max(0, len(held)-len(text)+1):])
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// revision is a change of a key as it lies in a member's database.
type revision struct {
	main   int64
	kv     *mvccpb.KeyValue
	gone   bool // a deletion
	newest bool // of its key
}

func (r revision) sealed() bool { return bytes.HasPrefix(r.kv.Value, sealedMarker) }

// reserved reports whether the key is etcdguard's own.
func (r revision) reserved() bool { return bytes.HasPrefix(r.kv.Key, []byte{0}) }

// revisions reads the database of a member that does not run, by a copy.
func revisions(t testing.TB, m *cluster.Member) []revision {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "db")
	data, err := os.ReadFile(m.File("data/member/snap/db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(copied, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatalf("opening a copy of the database of %s: %v", m.Name, err)
	}
	defer db.Close()
	var all []revision
	newest := map[string]int{}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("key")).ForEach(func(k, v []byte) error {
			// 8 bytes of main revision, '_', 8 bytes of sub revision, 't' for a deletion.
			r := revision{main: int64(binary.BigEndian.Uint64(k)), kv: &mvccpb.KeyValue{}, gone: len(k) == 18, newest: true}
			if err := proto.Unmarshal(v, r.kv); err != nil {
				return err
			}
			if before, ok := newest[string(r.kv.Key)]; ok {
				all[before].newest = false
			}
			newest[string(r.kv.Key)] = len(all)
			all = append(all, r)
			return nil
		})
	})
	if err != nil {
		t.Fatalf("reading a copy of the database of %s: %v", m.Name, err)
	}
	return all
}

// forms counts the values of clients in a member's database.
type forms struct{ sealed, plain, liveSealed, livePlain int }

func formsOf(all []revision) (f forms) {
	for _, r := range all {
		if r.reserved() || r.gone {
			continue
		}
		sealed, plain := &f.sealed, &f.plain
		if r.newest {
			sealed, plain = &f.liveSealed, &f.livePlain
		}
		if r.sealed() {
			*sealed++
		} else {
			*plain++
		}
	}
	return f
}

// everything is all keys with a prefix, as the member serves them.
func everything(t testing.TB, c *cluster.Cluster, m *cluster.Member, prefix string) []*mvccpb.KeyValue {
	t.Helper()
	client := c.Etcd(t, c.TLS(t, "admin"), m)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatalf("%s does not serve what is stored: %v", m.Name, err)
	}
	return answer.Kvs
}
