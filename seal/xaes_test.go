package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha3"
	"encoding/hex"
	"strings"
	"testing"
)

// sealXAES seals with a given nonce, which the package itself never does.
func sealXAES(key *[32]byte, nonce *[24]byte, plaintext, aad []byte) []byte {
	gcm, err := cipher.NewGCM(newXAES(key).derived((*[12]byte)(nonce[:12])))
	if err != nil {
		panic(err)
	}
	return gcm.Seal(nil, nonce[12:], plaintext, aad)
}

func openXAES(key *[32]byte, nonce *[24]byte, sealed, aad []byte) ([]byte, error) {
	return newXAES(key).derive((*[12]byte)(nonce[:12])).Open(nil, nil, append(bytes.Clone(nonce[12:]), sealed...), aad)
}

// The two vectors of c2sp.org/XAES-256-GCM, of which the second has MSB₁(L) = 1.
func TestVectorsOfC2SP(t *testing.T) {
	for _, v := range []struct {
		key             byte
		k1, kx, aad, ct string
	}{
		{1, "e531954aca063d5b8d9c47a47d4cc6f0", "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
			"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "23810ec50edb99f374409466ed1f4b7b", "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
			"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		key := [32]byte(bytes.Repeat([]byte{v.key}, 32))
		nonce := [24]byte([]byte("ABCDEFGHIJKLMNOPQRSTUVWX"))
		x := newXAES(&key)
		if got := hex.EncodeToString(x.k1[:]); got != v.k1 {
			t.Errorf("K1 is %s, want %s", got, v.k1)
		}
		got := sealXAES(&key, &nonce, []byte("XAES-256-GCM"), []byte(v.aad))
		if hex.EncodeToString(got) != v.ct {
			t.Errorf("sealed to %x, want %s", got, v.ct)
		}
		// Kₓ itself can't be seen, but what it encrypts can.
		one, two := make([]byte, 16), make([]byte, 16)
		x.derived((*[12]byte)(nonce[:12])).Encrypt(one, one)
		newBlock(t, v.kx).Encrypt(two, two)
		if !bytes.Equal(one, two) {
			t.Errorf("the derived key is not %s", v.kx)
		}
		if opened, err := openXAES(&key, &nonce, got, []byte(v.aad)); err != nil || string(opened) != "XAES-256-GCM" {
			t.Errorf("opened to %q, %v", opened, err)
		}
	}
}

// The accumulated randomized test of c2sp.org/XAES-256-GCM. The longer one, of a
// million iterations, is not run with -short.
func TestAccumulatedVectorsOfC2SP(t *testing.T) {
	results := map[int]string{
		10_000:    "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939",
		1_000_000: "2163ae1445985a30b60585ee67daa55674df06901b890593e824b8a7c885ab15",
	}
	random, hash := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	field := func() []byte {
		var n [1]byte
		random.Read(n[:])
		b := make([]byte, n[0])
		random.Read(b)
		return b
	}
	iterations := 1_000_000
	if testing.Short() || raceEnabled {
		iterations = 10_000
	}
	for i := 1; i <= iterations; i++ {
		var key [32]byte
		var nonce [24]byte
		random.Read(key[:])
		random.Read(nonce[:])
		plaintext, aad := field(), field()
		sealed := sealXAES(&key, &nonce, plaintext, aad)
		hash.Write(sealed)
		if i <= 1000 {
			if opened, err := openXAES(&key, &nonce, sealed, aad); err != nil || !bytes.Equal(opened, plaintext) {
				t.Fatalf("iteration %d opened to %x, %v; want %x", i, opened, err, plaintext)
			}
		}
		if want, there := results[i]; there {
			sum := *hash // reading ends the writing
			var got [32]byte
			sum.Read(got[:])
			if hex.EncodeToString(got[:]) != want {
				t.Fatalf("after %d iterations %x, want %s", i, got, want)
			}
		}
	}
}

// TestNoKeyIsPrinted: a Key that is printed by mistake shows no secret.
func TestNoKeyIsPrinted(t *testing.T) {
	secret := [32]byte(bytes.Repeat([]byte("Q"), 32))
	k := NewKey(RingID{1}, 7, &secret)
	if s := k.String(); s != "key 7 of ring 0100000000000000" || strings.Contains(s, "QQQQ") {
		t.Errorf("a key is printed as %q", s)
	}
}
