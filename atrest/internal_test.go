package atrest

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func TestShapes(t *testing.T) {
	long := strings.Repeat("aB3", 20)
	for text, want := range map[string]string{
		"-----BEGIN RSA PRIVATE KEY-----\nMIIE":                     shapePrivateKey,
		"-----BEGIN PRIVATE KEY-----\nMIIE":                         shapePrivateKey,
		"-----BEGIN CERTIFICATE-----\nMIIE":                         "",
		"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzYSJ9.c2ln":                shapeJWT,
		"eyJhbGciOiJSUzI1NiJ9 and more of it":                       "",
		"token: abc123.0123456789abcxyz":                            shapeBootstrap,
		"abc123.0123456789abcxyz":                                   shapeBootstrap,
		"/registry/events/kube-system/etcd-master.17a3b4c5d6e7f8a9": "",
		"longer-abc1234.0123456789abcxyz":                           "",
		`{"auths":{"registry.example.com":{"auth":"eDp5"}}}`:        shapeDocker,
		"AKIAABCDEFGHIJKLMNOP":                                      shapeAWS,
		"AKIAABCDEFGHIJ":                                            "",
		"ghp_" + long:                                               shapeGitHub,
		"github_pat_" + long:                                        shapeGitHub,
		"glpat-" + long:                                             shapeGitLab,
		"xoxb-" + long:                                              shapeSlack,
		"$2a$10$" + long[:53]:                                       shapeHash,
		"$6$salt$" + long:                                           shapeHash,
		"$2a$":                                                      "",
	} {
		for _, before := range []string{"", "\x00\x01 "} {
			tally := newLedger().tally(&Options{Shapes: true})
			tally.shapesIn([]byte(before+text+" "), inLog)
			if got := slices.Collect(maps.Keys(tally.shapes)); want == "" && len(got) > 0 || want != "" && !slices.Equal(got, []string{want}) {
				t.Errorf("%q: %q, want %q", before+text, got, want)
			}
		}
	}
}

// The newest revision of each key is told in any order, and where keys do not fit.
func TestNewestInLittleRoom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	seed := maphash.MakeSeed()
	var all []revision
	want := map[uint64]revision{}
	for n := range 20_000 {
		r := revision{maphash.String(seed, fmt.Sprint(random.IntN(5000))), uint64(n + 1), uint32(random.IntN(3)), 10}
		if random.IntN(10) == 0 {
			r.cell = noCell
		}
		all = append(all, r)
		want[r.hash] = r
	}
	live := [3]int64{}
	for _, r := range want {
		if r.cell != noCell {
			live[r.cell]++
		}
	}
	for _, slots := range []int{1 << 16, 1 << 10, 1 << 8} {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		n := &newest{slots: make([]revision, slots)}
		counts := make([][places]Count, 3)
		findings := []finding{}
		for _, r := range all {
			findings = append(findings, finding{hash: r.hash, rev: r.rev, place: inStore})
		}
		passes := 0
		for more := true; more; more = n.next() {
			passes++
			n.add(all)
			n.live(counts)
			n.settle(findings)
		}
		for i, w := range live {
			if got := counts[i][inLive].Values; got != w {
				t.Errorf("%d slots, cell %d: %d live, want %d", slots, i, got, w)
			}
		}
		for _, f := range findings {
			if isNewest := want[f.hash].rev == f.rev; f.place != inLive && isNewest || f.place != inHistory && !isNewest {
				t.Fatalf("%d slots: revision %d is in place %d", slots, f.rev, f.place)
			}
		}
		if slots < 1<<10 && passes < 10 {
			t.Errorf("%d slots: only %d passes", slots, passes)
		}
	}
}

// Hashes that collide on purpose end in a full table, not in a loop.
func TestNewestWithEqualHashes(t *testing.T) {
	n := &newest{slots: make([]revision, 1<<8)}
	for i := range 1 << 12 {
		n.add([]revision{{uint64(i) << 8 & (1<<shareShift - 1), uint64(i + 1), 0, 1}})
	}
	counts := make([][places]Count, 1)
	for more := true; more; more = n.next() {
		n.live(counts)
	}
}

func TestReadCommonAgrees(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	common := 0
	good := []byte("\x0a\x02/a\x10\x85\x01\x18\x86\x01\x20\x02\x2a\x05hello")
	for range 300_000 {
		b := bytes.Clone(good)
		for range random.IntN(3) {
			b[random.IntN(len(b))] = byte(random.IntN(256))
		}
		b = b[:len(b)-random.IntN(3)]
		fast, ok := readCommon(b)
		if !ok {
			continue
		}
		common++
		slow, ok := readFields(b, true)
		if !ok || !bytes.Equal(fast.key, slow.key) || !bytes.Equal(fast.value, slow.value) || !slow.whole {
			t.Fatalf("%q: %q=%q, and slowly %q=%q %v", b, fast.key, fast.value, slow.key, slow.value, ok)
		}
	}
	if common < 1000 {
		t.Errorf("only %d were common", common)
	}
}

// seeds are small files of each kind.
func seeds(t testing.TB) (all [][]byte) {
	file := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(file, 0o600, &bolt.Options{PageSize: 1024, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{"key", "meta", "auth"} {
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			for i := range 60 {
				rev := append(bytes.Repeat([]byte{0}, 7), byte(i+1), '_', 0, 0, 0, 0, 0, 0, 0, 0)
				if err := b.Put(rev, []byte("\x0a\x02/a\x10\x01\x18\x02\x20\x02\x2a\x05hello")); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wal := []byte("\x04\x00\x00\x00\x00\x00\x00\x84\x08\x04\x10\x00\x00\x00\x00\x00" +
		"\x10\x00\x00\x00\x00\x00\x00\x00\x08\x02\x10\x00\x1a\x0a\x22\x08\x22\x06\x0a\x01a\x12\x01b")
	snap := []byte("\x08\x00\x12\x1a\x0a\x18{\"Path\":\"/1\",\"Value\":\"\"}")
	return [][]byte{data, data[:3000], append(bytes.Repeat([]byte{0}, 2048), data[2048:]...), wal, snap}
}

// Whatever a file holds, a scan ends, and counts no more bytes than there are pages.
func FuzzScan(f *testing.F) {
	for _, s := range seeds(f) {
		for _, name := range []string{"db", "0.wal", "0.snap"} {
			f.Add(name, s)
		}
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if filepath.Base(name) != name || strings.ContainsAny(name, "\x00/") || len(name) > 100 || name == "." || name == ".." {
			return
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Skip(err)
		}
		r, err := Scan(t.Context(), []string{file}, Options{Keys: true, Shapes: true, Hash: true, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Totals {
			for _, c := range []Count{row.Live, row.History, row.Log, row.Residue} {
				if c.Values < 0 || c.Bytes < 0 || c.Bytes > int64(len(data)) {
					t.Fatalf("%+v in %d bytes", row, len(data))
				}
			}
		}
	})
}
