package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"
)

func TestAppends(t *testing.T) {
	k := testKey()
	sealed := k.Seal([]byte("dst"), testName, testValue)
	if string(sealed[:3]) != "dst" || len(sealed) != 3+Overhead+len(testValue) {
		t.Fatalf("appended %d bytes", len(sealed)-3)
	}
	opened, err := k.Open([]byte("dst"), testName, sealed[3:])
	if err != nil || string(opened) != "dst"+string(testValue) {
		t.Fatalf("opened to %q, %v", opened, err)
	}
}

// TestInputsAreLeftAlone: stored values are shared by readers in etcd.
func TestInputsAreLeftAlone(t *testing.T) {
	k := testKey()
	name, value := bytes.Clone(testName), bytes.Clone(testValue)
	sealed := k.Seal(nil, name, value)
	before := bytes.Clone(sealed)
	k.Open(nil, name, sealed)
	k.Open(nil, []byte("b"), sealed)
	if !bytes.Equal(name, testName) || !bytes.Equal(value, testValue) || !bytes.Equal(sealed, before) {
		t.Error("an input was changed")
	}
}

// TestRenewal: a half serves as many values as it may, and what was sealed under
// earlier ones opens, also when there are more of them than the cache holds.
func TestRenewal(t *testing.T) {
	k := testKey()
	k.renewAfter = 3
	halves := map[string]int{}
	var all [][]byte
	for range 3 * 4 * cached {
		s := k.Seal(nil, testName, testValue)
		halves[string(s[20:32])]++
		all = append(all, s)
	}
	if len(halves) != 4*cached {
		t.Errorf("%d halves, want %d", len(halves), 4*cached)
	}
	for half, n := range halves {
		if n != 3 {
			t.Errorf("half %x has sealed %d values", half, n)
		}
	}
	for _, s := range all {
		if v, err := k.Open(nil, testName, s); err != nil || !bytes.Equal(v, testValue) {
			t.Fatalf("opened to %q, %v", v, err)
		}
	}
}

func TestRenewsWellBeforeTheBound(t *testing.T) {
	if k := testKey(); k.renewAfter != 1<<20 {
		t.Errorf("a half serves %d values", k.renewAfter)
	}
}

func TestNoTwoNoncesAreAlike(t *testing.T) {
	seen := map[string]bool{}
	a, b := testKey(), testKey() // the same key after a restart, or on another member
	for range 10_000 {
		for _, k := range []*Key{a, b} {
			nonce := string(k.Seal(nil, testName, testValue)[20:44])
			if seen[nonce] {
				t.Fatalf("nonce %x twice", nonce)
			}
			seen[nonce] = true
		}
	}
	if a.sealing.Load().nonce == b.sealing.Load().nonce {
		t.Error("two processes began with the same half")
	}
}

// TestWhatIsNotAuthenticDisplacesNothing: someone who writes to the disk can't make
// every opening derive a key by filling the cache.
func TestWhatIsNotAuthenticDisplacesNothing(t *testing.T) {
	k := testKey()
	sealed := k.Seal(nil, testName, testValue)
	k.Open(nil, testName, sealed)
	kept := k.slot(sealed[20:32]).Load()
	altered := bytes.Clone(sealed)
	altered[31] ^= 1 // the same slot
	mustFail(t, k, testName, withCheck(altered), ErrMoved)
	if kept == nil || k.slot(sealed[20:32]).Load() != kept {
		t.Error("an altered value took the place of a derived key")
	}
}

func TestConcurrently(t *testing.T) {
	k := testKey()
	k.renewAfter = 10
	reader := testKey() // a member that seals nothing: every half is new to it
	var wg sync.WaitGroup
	const goroutines = 8
	nonces := make([][]string, goroutines)
	for g := range goroutines {
		wg.Go(func() {
			name := fmt.Appendf(nil, "/key/%d", g)
			for i := range 500 {
				value := bytes.Repeat([]byte{byte(i)}, i)
				sealed := k.Seal(nil, name, value)
				nonces[g] = append(nonces[g], string(sealed[20:44]))
				for _, k := range []*Key{k, reader} {
					if v, err := k.Open(nil, name, sealed); err != nil || !bytes.Equal(v, value) {
						t.Errorf("opened to %d bytes, %v", len(v), err)
					}
					if _, err := k.Open(nil, []byte("/other"), sealed); err != ErrMoved {
						t.Errorf("under another name: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	halves, all := map[string]int{}, map[string]bool{}
	for _, list := range nonces {
		for _, nonce := range list {
			if all[nonce] {
				t.Fatal("a nonce came twice")
			}
			all[nonce] = true
			halves[nonce[:12]]++
		}
	}
	for half, n := range halves {
		if n > 10+goroutines {
			t.Errorf("half %x sealed %d values, and may seal 10 and one more for each goroutine", half, n)
		}
	}
}

// TestAllocations: one for the result, and none besides.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	k := testKey()
	value := make([]byte, 1024)
	sealed := k.Seal(nil, testName, value)
	// The pool may be emptied by a collection meanwhile, hence not exactly 1.
	if n := testing.AllocsPerRun(1000, func() { k.Seal(nil, testName, value) }); n >= 2 {
		t.Errorf("Seal allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { k.Open(nil, testName, sealed) }); n >= 2 {
		t.Errorf("Open allocates %v times", n)
	}
	room := make([]byte, 0, 2048)
	if n := testing.AllocsPerRun(1000, func() { k.Open(room, testName, sealed) }); n >= 1 {
		t.Errorf("Open into a buffer allocates %v times", n)
	}
}

var sizes = []int{100, 1 << 10, 64 << 10}

func BenchmarkSeal(b *testing.B) {
	for _, size := range sizes {
		value := make([]byte, size)
		k := testKey()
		bench(b, "sealed", size, func() { k.Seal(nil, testName, value) })
		gcm := plainGCM(b)
		bench(b, "control", size, func() {
			out := make([]byte, 12, 12+size+16)
			rand.Read(out)
			gcm.Seal(out, out[:12], value, testName)
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range sizes {
		k := testKey()
		sealed := k.Seal(nil, testName, make([]byte, size))
		bench(b, "sealed", size, func() { k.Open(nil, testName, sealed) })
		gcm, nonce := plainGCM(b), make([]byte, 12)
		control := gcm.Seal(nil, nonce, make([]byte, size), testName)
		bench(b, "control", size, func() { gcm.Open(nil, nonce, control, testName) })
	}
}

// BenchmarkOpenMiss is the opening of a value whose half was not met before.
func BenchmarkOpenMiss(b *testing.B) {
	k := testKey()
	k.renewAfter = 1
	sealed := make([][]byte, 4096)
	for i := range sealed {
		sealed[i] = k.Seal(nil, testName, make([]byte, 1<<10))
	}
	i := 0
	bench(b, "sealed", 1<<10, func() { k.Open(nil, testName, sealed[i%len(sealed)]); i++ })
}

func bench(b *testing.B, what string, size int, f func()) {
	b.Run(fmt.Sprintf("%s/%d", what, size), func(b *testing.B) {
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			f()
		}
	})
}

// plainGCM is AES-256-GCM with nothing around it.
func plainGCM(b *testing.B) cipher.AEAD {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	return gcm
}
