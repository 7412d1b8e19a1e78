package seal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
)

var (
	testName  = []byte("/registry/secrets/default/a")
	testValue = []byte("a value that must never come out of altered bytes")
)

func testKey() *Key { return NewKey(RingID{1, 2, 3}, 5, &[32]byte{7}) }

// mustFail opens and holds the error against what is wanted.
func mustFail(t *testing.T, k *Key, name, stored []byte, want error) {
	t.Helper()
	dst := []byte("before")
	room := append(dst, make([]byte, 4*len(testValue))...)[:len(dst)]
	got, err := k.Open(room, name, stored)
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if got != nil || bytes.Contains(room[:cap(room)], testValue[:8]) {
		t.Errorf("the value came out")
	}
	if err != nil && strings.Contains(err.Error(), string(testValue[:8])) {
		t.Errorf("the value is in the error: %v", err)
	}
}

func TestEveryFlippedBit(t *testing.T) {
	k := testKey()
	for _, value := range [][]byte{testValue, {}} {
		sealed := k.Seal(nil, testName, value)
		for bit := range 8 * len(sealed) {
			b := bytes.Clone(sealed)
			b[bit/8] ^= 1 << (bit % 8)
			want := ErrAltered
			switch at := bit / 8; {
			case at < 3:
				want = ErrNotSealed
			case at < 4:
				want = ErrVersion
			case at < 12:
				want = ErrForeignRing
			case at < 16:
				want = ErrUnknownKey
			case at < 20 && b[at] > sealed[at]:
				want = ErrTruncated
			}
			mustFail(t, k, testName, b, want)
		}
	}
}

// TestAlteredOnPurpose: whoever alters bytes and makes the check agree gets
// no further.
func TestAlteredOnPurpose(t *testing.T) {
	k := testKey()
	sealed := k.Seal(nil, testName, testValue)
	for bit := 8 * nonceEnd; bit < 8*(len(sealed)-checkSize); bit++ {
		b := bytes.Clone(sealed)
		b[bit/8] ^= 1 << (bit % 8)
		mustFail(t, k, testName, withCheck(b), ErrMoved)
	}
	// A shorter value with a length that fits, and a longer one.
	for _, by := range []int{-1, 1} {
		b := bytes.Clone(sealed[:nonceEnd])
		b[headerSize-1] = byte(len(testValue) + by)
		b = append(b, make([]byte, len(testValue)+by+tagSize+checkSize)...)
		copy(b[nonceEnd:], sealed[nonceEnd:])
		mustFail(t, k, testName, withCheck(b), ErrMoved)
	}
}

// withCheck is b with a check that agrees in its last four bytes.
func withCheck(b []byte) []byte {
	b = bytes.Clone(b)
	sum := crc32.Checksum(b[:len(b)-4], crc32.MakeTable(crc32.Castagnoli))
	return append(b[:len(b)-4], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
}

func TestEveryTruncation(t *testing.T) {
	k := testKey()
	sealed := k.Seal(nil, testName, testValue)
	for n := range sealed {
		want := ErrTruncated
		if n < len(marker) {
			want = ErrNotSealed
		}
		mustFail(t, k, testName, sealed[:n:n], want)
	}
	longer := append(bytes.Clone(sealed), 0)
	for _, b := range [][]byte{longer, withCheck(longer)} {
		mustFail(t, k, testName, b, ErrAltered)
		if _, err := Parse(b); err != ErrAltered {
			t.Errorf("with a byte more, parsed: %v", err)
		}
	}
}

func TestAtAnotherKey(t *testing.T) {
	k := testKey()
	sealed := k.Seal(nil, testName, testValue)
	for _, name := range [][]byte{nil, []byte("/registry/secrets/default/b"), testName[:len(testName)-1], append(bytes.Clone(testName), 0)} {
		mustFail(t, k, name, sealed, ErrMoved)
	}
	// No split of name and value is another name and value: the header tells lengths.
	other := k.Seal(nil, append(bytes.Clone(testName), 'x'), testValue[1:])
	mustFail(t, k, testName, other, ErrMoved)
}

func TestOtherKeys(t *testing.T) {
	sealed := testKey().Seal(nil, testName, testValue)
	for _, c := range []struct {
		what string
		key  *Key
		want error
	}{
		{"another ring", NewKey(RingID{9}, 5, &[32]byte{7}), ErrForeignRing},
		{"another number", NewKey(RingID{1, 2, 3}, 6, &[32]byte{7}), ErrUnknownKey},
		{"another secret", NewKey(RingID{1, 2, 3}, 5, &[32]byte{8}), ErrMoved},
	} {
		t.Run(c.what, func(t *testing.T) { mustFail(t, c.key, testName, sealed, c.want) })
	}
}

// TestLengthsThatDoNotExist: a length of 4 GiB in a short value, on 32 bits, too.
func TestLengthsThatDoNotExist(t *testing.T) {
	k := testKey()
	sealed := k.Seal(nil, testName, testValue)
	for _, length := range [][4]byte{{0xff, 0xff, 0xff, 0xff}, {0x80, 0, 0, 0}, {0x7f, 0xff, 0xff, 0xff}, {0xff, 0xff, 0xff, 0xc0}} {
		b := bytes.Clone(sealed)
		copy(b[16:], length[:])
		mustFail(t, k, testName, b, ErrTruncated)
		if _, err := Parse(b); err != ErrTruncated {
			t.Errorf("parsed with length %x: %v", length, err)
		}
	}
}

// TestDamageIsSeenWithoutAKey: Parse tells a whole value from a damaged one.
func TestDamageIsSeenWithoutAKey(t *testing.T) {
	sealed := testKey().Seal(nil, testName, testValue)
	for at := nonceEnd; at < len(sealed); at++ {
		b := bytes.Clone(sealed)
		b[at] ^= 0x10
		if e, err := Parse(b); err != nil || e.Whole {
			t.Fatalf("byte %d flipped: %+v, %v", at, e, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Sealed))
	}
	f.Add([]byte("\xe5eg"))
	f.Add([]byte("k8s\x00plaintext"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		e, err := Parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("Parse changed its input")
		}
		if IsSealed(b) == (err == ErrNotSealed) {
			t.Fatalf("IsSealed %t, but %v", IsSealed(b), err)
		}
		if err == nil && e.Size != len(b)-Overhead {
			t.Fatalf("%d bytes hold a value of %d", len(b), e.Size)
		}
		if err != nil && e.Whole {
			t.Fatalf("whole, but %v", err)
		}
	})
}

// FuzzOpen: nothing opens but what was sealed, whatever the bytes and the check.
func FuzzOpen(f *testing.F) {
	k := testKey()
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Name), []byte(v.Sealed))
	}
	f.Add(testName, k.Seal(nil, testName, testValue))
	f.Fuzz(func(t *testing.T, name, b []byte) {
		if len(b) >= Overhead {
			b = bytes.Clone(b)
			copy(b, "\xe5eg\x01\x01\x02\x03\x00\x00\x00\x00\x00\x00\x00\x00\x05")
			b[16], b[17], b[18], b[19] = byte((len(b)-Overhead)>>24), byte((len(b)-Overhead)>>16), byte((len(b)-Overhead)>>8), byte(len(b)-Overhead)
			b = withCheck(b)
		}
		fresh := NewKey(RingID{1, 2, 3}, 5, &[32]byte{8}) // no secret of it is in any seed
		if v, err := fresh.Open(nil, name, b); err == nil || v != nil {
			t.Fatalf("opened to %x", v)
		}
		if v, err := k.Open(nil, name, k.Seal(nil, name, b)); err != nil || !bytes.Equal(v, b) {
			t.Fatalf("sealed and opened to %x, %v", v, err)
		}
	})
}
