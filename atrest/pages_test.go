package atrest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/etcdguard/etcdguard/seal"
)

// store is a database in memory, with so many values of 1 KiB, or of 300 KiB each
// 100th, and pages that are free again.
func store(t testing.TB, values int, form func(key, value []byte) []byte) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(file, 0o600, &bolt.Options{PageSize: 4096, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{1})
	for n := 0; n < values; {
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(keyBucket))
			if err != nil {
				return err
			}
			for end := min(values, n+1000); n < end; n++ {
				rev := append(binary.BigEndian.AppendUint64(nil, uint64(n+1)), "_\x00\x00\x00\x00\x00\x00\x00\x00"...)
				key := fmt.Appendf(nil, "/registry/secrets/default/%d", n/2)
				size := 1024
				if n%100 == 50 {
					size = 300 << 10
				}
				value := make([]byte, size)
				_, _ = random.Read(value)
				copy(value, "k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret")
				value = form(key, value)
				kv := append([]byte{0x0a, byte(len(key))}, key...)
				kv = append(kv, 0x10, 1, 0x18, 1, 0x20, 1, 0x2a)
				kv = append(binary.AppendUvarint(kv, uint64(len(value))), value...)
				if err := b.Put(rev, kv); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var forms = map[string]func(key, value []byte) []byte{
	"plaintext": func(_, value []byte) []byte { return value },
	"sealed": func(key, value []byte) []byte {
		return seal.NewKey(seal.RingID{1}, 1, &[32]byte{2}).Seal(nil, key, value)
	},
}

// However a file is cut into chunks and whoever reads them, every page is looked at once,
// in the same spans.
func TestChunksAreOfWholeSpans(t *testing.T) {
	data := store(t, 3000, forms["plaintext"])
	// An overflow that is a lie, on a free page and on one in use.
	for _, page := range []int{len(data)/4096 - 3, len(data) / 8192} {
		le.PutUint32(data[page*4096+12:], 1<<20)
	}
	m := readMetas(bytes.NewReader(data), int64(len(data)))
	now, ok := m.newest()
	if !ok {
		t.Fatal("no meta page")
	}
	for _, all := range []*reach{
		walk(bytes.NewReader(data), int64(len(data)), now, false),
		{pageSize: 4096, owner: make([]uint8, len(data)/4096)}, // as if both meta pages were broken
	} {
		p := &pageReader{f: bytes.NewReader(data), size: int64(len(data)), ended: int64(len(data)), reach: all, read: func(int64) {}}
		var want []span // of all the file at once
		for page := uint64(0); page < uint64(len(all.owner)); {
			begin := int64(page) * 4096
			n := p.spanLength(page, data[begin:])
			want = append(want, span{page, all.owner[page], data[begin : begin+int64(n)*4096]})
			page += uint64(n)
		}
		longest := 0
		var buf []byte
		var spans []span
		for n := 0; ; {
			if buf, spans = p.next(buf, spans); len(spans) == 0 {
				if n != len(want) {
					t.Errorf("%d spans, want %d", n, len(want))
				}
				break
			}
			for _, s := range spans {
				if n == len(want) || s.page != want[n].page || s.owner != want[n].owner || !bytes.Equal(s.data, want[n].data) {
					t.Fatalf("span %d is page %d with %d bytes", n, s.page, len(s.data))
				}
				longest = max(longest, len(s.data))
				n++
			}
		}
		if longest <= pageChunk {
			t.Errorf("the longest span has %d bytes: none is longer than a chunk", longest)
		}
	}
}

// BenchmarkPages is the work on a database without the reading: on one core, in memory.
func BenchmarkPages(b *testing.B) {
	for name, form := range forms {
		data := store(b, 20_000, form)
		m, _ := readMetas(bytes.NewReader(data), int64(len(data))).newest()
		inUse := walk(bytes.NewReader(data), int64(len(data)), m, false)
		free := &reach{pageSize: m.pageSize, owner: make([]uint8, len(inUse.owner))}
		for what, r := range map[string]*reach{"in use": inUse, "free": free} {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					p := &pageReader{f: bytes.NewReader(data), size: int64(len(data)), ended: int64(len(data)), reach: r, read: func(int64) {}}
					n := newNewest(p.size)
					if _, err := readPages(b.Context(), p, 1, m.end, newLedger(), &Options{}, n.add); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkCarve is the search of bytes in which there is nothing to find.
func BenchmarkCarve(b *testing.B) {
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	t := newLedger().tally(&Options{})
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		t.carve(data, inResidue)
	}
}
