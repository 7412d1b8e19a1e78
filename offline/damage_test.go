package offline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/etcdguard/etcdguard/keyring"
)

func TestTheHashIsVerified(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, _ := history(o)
	in := snapshot(t, stored)
	data := read(t, in)
	for _, at := range []int{0, len(data) / 2, len(data) - 33, len(data) - 1} {
		b := bytes.Clone(data)
		b[at] ^= 1
		check(t, os.WriteFile(in, b, 0o600))
		if _, err := Open(ctx, in, nil); !errors.Is(err, ErrHash) {
			t.Errorf("byte %d flipped: %v", at, err)
		}
	}
}

// TestDamagedDatabases: whatever happened to a file without a hash, it is an error
// or a whole output, and never the end of the process or a half output.
func TestDamagedDatabases(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, _ := history(o)
	whole := read(t, database(t, stored))
	random := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	try := func(b []byte) {
		t.Helper()
		check(t, os.WriteFile(in, b, 0o600))
		if _, err := convert(t, in, out, WithRing(o, false), true); err == nil {
			restorable(t, out)
			check(t, os.Remove(out))
		}
		check(t, os.Remove(in))
		empty(t, dir)
	}
	for size := 0; size < len(whole); size += 512 {
		try(whole[:size])
	}
	for range 300 {
		b := bytes.Clone(whole)
		for range 1 + random.IntN(8) {
			b[4096*2+random.IntN(len(b)-4096*2)] = byte(random.Uint32())
		}
		try(b)
	}
	for page := 2; page < len(whole)/4096; page++ { // headers of pages are what counts
		for range 20 {
			b := bytes.Clone(whole)
			b[4096*page+random.IntN(64)] = byte(random.Uint32())
			try(b)
		}
	}
}

// TestPagesThatGoInCircles: bbolt would follow them until the memory is used up.
func TestPagesThatGoInCircles(t *testing.T) {
	var stored []put
	for i := range int64(500) {
		stored = append(stored, put{main: i + 2, key: fmt.Sprintf("/%d", i), created: i + 2, version: 1, stored: make([]byte, 200)})
	}
	in := database(t, stored)
	whole := read(t, in)
	branches := 0
	for id := 2; id < len(whole)/4096; id++ {
		page := whole[id*4096:]
		if flags := binary.NativeEndian.Uint16(page[8:]); flags != branchFlag {
			continue
		}
		branches++
		for at := range int(binary.NativeEndian.Uint16(page[10:])) {
			for _, child := range []int{id, id + 1, 0, 1, len(whole) / 4096, -1} {
				b := bytes.Clone(whole)
				element := b[id*4096+16+16*at+8:]
				if binary.NativeEndian.Uint64(element) == uint64(child) {
					continue
				}
				binary.NativeEndian.PutUint64(element, uint64(child))
				check(t, os.WriteFile(in, b, 0o600))
				if s, err := Open(ctx, in, nil); !errors.Is(err, ErrDamaged) {
					if err == nil {
						s.Close()
					}
					t.Fatalf("element %d of page %d points to page %d: %v", at, id, child, err)
				}
			}
		}
	}
	if branches == 0 {
		t.Fatal("no branch in the database: nothing was tried")
	}
}

// TestAFileCutShortMeanwhile: the memory that bbolt maps is gone then.
func TestAFileCutShortMeanwhile(t *testing.T) {
	o := ring(t, keyring.Sealing)
	stored, _ := history(o)
	in := snapshot(t, stored)
	s, err := Open(ctx, in, nil)
	check(t, err)
	defer s.Close()
	check(t, os.Truncate(in, 8192))
	if _, err := s.Survey(ctx, WithRing(o, false), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
	if _, err := s.Ring(ctx); !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
}

func TestRecordsThatEtcdDoesNotWrite(t *testing.T) {
	o := ring(t, keyring.Sealing)
	a := put{main: 5, key: "/a", created: 5, version: 1}
	for name, stored := range map[string][]put{
		"a put and a deletion at one revision": {a, {main: 5, key: "/a", deleted: true}},
		"a negative revision":                  {{main: -5, key: "/a"}},
		"revision 0":                           {{main: 0, key: "/a"}},
		"a negative place in a revision":       {{main: 5, sub: -1, key: "/a"}},
		"no name":                              {{main: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := convert(t, snapshot(t, stored), filepath.Join(dir, "out"), WithRing(o, false), true); !errors.Is(err, ErrDamaged) {
				t.Errorf("error %v", err)
			}
			empty(t, dir)
		})
	}
}
