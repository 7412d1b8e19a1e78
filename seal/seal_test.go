package seal

import (
	"encoding/hex"
	"testing"
)

// The first vector of c2sp.org/XAES-256-GCM.
func TestVector(t *testing.T) {
	var key [32]byte
	for i := range key {
		key[i] = 1
	}
	nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
	got := newXAES(&key).derive((*[12]byte)(nonce[:12])).Seal(nil, nonce[12:], []byte("XAES-256-GCM"), nil)
	if want := "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"; hex.EncodeToString(got) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	k := NewKey(RingID{1}, 1, &[32]byte{7})
	s := k.Seal(nil, []byte("a"), []byte("hello"))
	if len(s) != 5+Overhead {
		t.Fatal(len(s))
	}
	v, err := k.Open(nil, []byte("a"), s)
	if err != nil || string(v) != "hello" {
		t.Fatal(v, err)
	}
	if _, err := k.Open(nil, []byte("b"), s); err != ErrMoved {
		t.Fatal(err)
	}
}
