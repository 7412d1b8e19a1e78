package offline

import (
	"bytes"
	"errors"
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
