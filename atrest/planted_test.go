package atrest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/atrest"
)

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// copyDir copies a data directory, so that it can be doctored.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func edit(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[len(found)-1]
}

// pageOf finds a page of that type, as bbolt itself sees it.
func pageOf(t *testing.T, file, kind string, good func([]byte) bool) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found := 0
	err = db.View(func(tx *bolt.Tx) error {
		for id := 2; ; {
			p, err := tx.Page(id)
			if err != nil || p == nil {
				return err
			}
			size := db.Info().PageSize
			if p.Type == kind && good(data[id*size:(id+1)*size]) {
				found = id
				return nil
			}
			if p.Type == "free" {
				id++
			} else {
				id += p.OverflowCount + 1
			}
		}
	})
	if err != nil || found == 0 {
		t.Fatalf("no %s page: %v", kind, err)
	}
	return found
}

func snapFile(t *testing.T, store any) []byte {
	t.Helper()
	text, err := json.Marshal(store)
	if err != nil {
		t.Fatal(err)
	}
	data := append(binary.AppendUvarint([]byte{0x0a}, uint64(len(text))), text...)
	data = append(data, 0x12, 0x04, 0x10, 0x05, 0x18, 0x02)
	out := binary.AppendUvarint([]byte{0x08}, uint64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))))
	out = binary.AppendUvarint(append(out, 0x12), uint64(len(data)))
	return append(out, data...)
}

// Plaintext planted in each place of a sealed member's files is found, and counted
// in that place; without it there is none.
func TestPlantedPlaintextIsFound(t *testing.T) {
	const pageSize = 4096
	clean := dataDir(t, sealed, nil)
	dirty := dataDir(t, plain, nil)
	if p := total(scan(t, atrest.Options{}, clean), atrest.Plaintext).Total(); p.Values != 0 {
		t.Fatalf("%d plaintext values in the sealed store", p.Values)
	}
	kv := marshal(t, &mvccpb.KeyValue{Key: []byte("/registry/secrets/a/b"), CreateRevision: 5, ModRevision: 6, Version: 2, Value: []byte("hunter2 " + canary)})
	put := marshal(t, &etcdserverpb.InternalRaftRequest{Put: &etcdserverpb.PutRequest{Key: []byte("/app/x"), Value: []byte("hunter2 " + canary)}})
	write := func(t *testing.T, file string, data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(t *testing.T, file string) []byte {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	residue := func(p atrest.Places) int64 { return p.Residue.Values }
	log := func(p atrest.Places) int64 { return p.Log.Values }
	for _, c := range []struct {
		name  string
		plant func(t *testing.T, dir string)
		where func(atrest.Places) int64
	}{
		{"slack of a leaf page", func(t *testing.T, dir string) {
			db := filepath.Join(dir, "member/snap/db")
			id := pageOf(t, db, "leaf", func(b []byte) bool { return bytes.Count(b[pageSize-200:], []byte{0}) == 200 })
			edit(t, db, func(b []byte) []byte { copy(b[(id+1)*pageSize-150:], kv); return b })
		}, residue},
		{"slack of a meta page", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "member/snap/db"), func(b []byte) []byte { copy(b[pageSize-200:], kv); return b })
		}, residue},
		{"free page without structure", func(t *testing.T, dir string) {
			db := filepath.Join(dir, "member/snap/db")
			id := pageOf(t, db, "free", func([]byte) bool { return true })
			edit(t, db, func(b []byte) []byte {
				clear(b[id*pageSize : (id+1)*pageSize])
				copy(b[id*pageSize+777:], object(3))
				return b
			})
		}, residue},
		{"tail of the file", func(t *testing.T, dir string) {
			edit(t, filepath.Join(dir, "member/snap/db"), func(b []byte) []byte {
				return append(append(b, make([]byte, 2*pageSize)...), kv...)
			})
		}, residue},
		{"space behind the log", func(t *testing.T, dir string) {
			edit(t, only(t, filepath.Join(dir, "member/wal/*.wal")), func(b []byte) []byte { copy(b[len(b)-4000:], put); return b })
		}, residue},
		{"a log of another member", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member/wal/0000000000000099-0000000000000099.wal"), read(t, only(t, filepath.Join(dirty, "member/wal/*.wal"))))
		}, log},
		{"a broken log", func(t *testing.T, dir string) {
			data := read(t, only(t, filepath.Join(dirty, "member/wal/*.wal")))
			copy(data[8:], make([]byte, 100))
			write(t, filepath.Join(dir, "member/wal/0000000000000099-0000000000000099.wal.broken"), data)
		}, residue},
		{"a raft snapshot", func(t *testing.T, dir string) {
			store := map[string]any{"Root": map[string]any{"Path": "/", "Children": map[string]any{"1": map[string]any{"Path": "/1/foo", "Value": "hunter2 " + canary}}}}
			write(t, filepath.Join(dir, "member/snap/0000000000000002-0000000000000099.snap"), snapFile(t, store))
		}, log},
		{"an event in a raft snapshot", func(t *testing.T, dir string) {
			node := map[string]any{"key": "/1/foo", "value": "hunter2 " + canary}
			store := map[string]any{"Root": map[string]any{"Path": "/"}, "WatcherHub": map[string]any{"EventHistory": map[string]any{"Queue": map[string]any{"Events": []any{map[string]any{"action": "set", "node": node}}}}}}
			write(t, filepath.Join(dir, "member/snap/0000000000000002-0000000000000099.snap.broken"), snapFile(t, store))
		}, log},
		{"a database in a snapshot", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member/snap/0000000000000099.snap.db"), read(t, filepath.Join(dirty, "member/snap/db")))
		}, func(p atrest.Places) int64 { return min(p.Live.Values, p.History.Values, p.Residue.Values) }},
		{"a file that defragmentation left", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member/snap/db.tmp.1234"), read(t, filepath.Join(dirty, "member/snap/db"))[:20*pageSize+17])
		}, residue},
		{"a database without its meta pages", func(t *testing.T, dir string) {
			data := read(t, filepath.Join(dirty, "member/snap/db"))
			clear(data[:2*pageSize])
			write(t, filepath.Join(dir, "member/snap/tmp123"), data)
		}, residue},
		{"a database without its first pages", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member/snap/tmp123"), read(t, filepath.Join(dirty, "member/snap/db"))[6*pageSize:])
		}, residue},
		{"the middle of a large value", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "member/snap/tmp123"), append(make([]byte, 5000), bytes.Repeat([]byte(canary), 100)...))
		}, residue},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyDir(t, clean)
			c.plant(t, dir)
			r := scan(t, atrest.Options{}, dir)
			if n := c.where(total(r, atrest.Plaintext)); n == 0 {
				t.Errorf("not found: %s, %+v", r.Verdict, r.Totals)
			}
			if len(r.Breaches(atrest.Expect{Sealed: true})) == 0 {
				t.Error("it passes for sealed")
			}
		})
	}
}

// Values put through a client and hidden behind what looks sealed are not taken for
// sealed.
func TestAMaskDoesNotHideAValue(t *testing.T) {
	masked := func(key string, value []byte) []byte {
		s := sealed(key, value)
		copy(s[44:], value)
		sum := crc32.Checksum(s[:len(s)-4], crc32.MakeTable(crc32.Castagnoli))
		return binary.BigEndian.AppendUint32(s[:len(s)-4], sum)
	}
	for name, data := range map[string][]byte{
		"text":        masked("/a", []byte(strings.Repeat("hunter2 ", 10))),
		"an object":   masked("/a", object(3)),
		"unfinished":  append(sealed("/a", make([]byte, 1<<16))[:60], object(3)...),
		"a key value": append([]byte{0x0a, 2, 'k', 'k', 0x10, 1, 0x18, 2, 0x20, 1, 0x2a, 0xff, 0xff, 0x03, 0xe5, 'e', 'g', 1}, object(3)...),
	} {
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := scan(t, atrest.Options{}, file); total(r, atrest.Plaintext).Total().Values == 0 {
			t.Errorf("%s is not found: %+v", name, r.Totals)
		}
	}
}

// No shape is seen in ciphertext.
func TestRandomBytesAreNothing(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, 48<<20)
	if _, err := random.Read(data); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := scan(t, atrest.Options{}, file); total(r, atrest.Plaintext).Total().Values != 0 {
		t.Errorf("%+v", r.Totals)
	}
}
