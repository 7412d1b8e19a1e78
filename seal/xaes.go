package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// XAES-256-GCM (c2sp.org/XAES-256-GCM): the first half of a 192-bit nonce and the
// key make a key for AES-256-GCM, the second half is its nonce. So nonces can be
// random for ever, with no counter that a crash or a cloned machine could set back.

const (
	keySize   = 32
	halfNonce = 12
	nonceSize = 2 * halfNonce
	tagSize   = 16
)

// xaes derives the keys of XAES-256-GCM from one key.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // CMAC's first subkey (NIST SP 800-38B, section 6.1)
}

func newXAES(key *[keySize]byte) *xaes {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the size is right
	}
	x := &xaes{block: block}
	block.Encrypt(x.k1[:], x.k1[:])
	msb := byte(0)
	for i := len(x.k1) - 1; i >= 0; i-- {
		msb, x.k1[i] = x.k1[i]>>7, x.k1[i]<<1|msb
	}
	x.k1[len(x.k1)-1] ^= byte(subtle.ConstantTimeSelect(int(msb), 0x87, 0))
	return x
}

// derive makes the AEAD for the nonces that begin with half. It makes the second
// half itself, at random, and puts it before what it seals: no caller can repeat one.
func (x *xaes) derive(half *[halfNonce]byte) cipher.AEAD {
	aead, err := cipher.NewGCMWithRandomNonce(x.derived(half))
	if err != nil {
		panic(err) // the block size is right
	}
	return aead
}

// derived is AES-256 with the key for the nonces that begin with half.
func (x *xaes) derived(half *[halfNonce]byte) cipher.Block {
	// Two blocks of the key derivation in counter mode (NIST SP 800-108r1), with CMAC
	// as its PRF and the label 'X'.
	var key [keySize]byte
	for i := range 2 {
		out := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		out[1], out[2] = byte(i+1), 'X'
		copy(out[4:], half[:])
		subtle.XORBytes(out, out, x.k1[:])
		x.block.Encrypt(out, out)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the size is right
	}
	return block
}
