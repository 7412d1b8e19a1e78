package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/etcdguard/etcdguard/internal/privatefile"
)

// A key file, three lines of text without a passphrase and four with:
//
//	etcdguard key file 1
//	id 5e0c26d97d1bd7a0ff2b
//	key xTkF…                                     32 bytes in base64
//
//	etcdguard key file 1
//	id 5e0c26d97d1bd7a0ff2b
//	passphrase argon2id t=3 m=65536 p=4 salt=…    16 bytes in base64 without padding
//	sealed iZ5n…                                  nonce, key and tag in base64
//
// sealed is AES-256-GCM under what Argon2id makes of the passphrase; the lines before
// it are its additional data. There is one way to write a file, and only that is read.
const (
	keyFileTitle = "etcdguard key file 1"
	keySize      = 32
	sealedSize   = 12 + keySize + 16
	maxKeyFile   = 1 << 10
)

// keyFile is a key file that was read and, if it has a passphrase, not yet opened.
type keyFile struct {
	id      string
	key     []byte  // without a passphrase
	stretch stretch // with one
	sealed  []byte
}

var (
	errNoPassphrase    = errors.New("it has a passphrase; name it with passphrase-file or passphrase-credential")
	errWrongPassphrase = errors.New("the passphrase is not that of this key file, or the file was altered")
	errNotItsKey       = errors.New("the id in it is not that of its key: it was altered; put a copy of the file back")
)

// keyID names a key-encryption key: the first ten bytes of what HKDF derives from it
// for this. The key is 32 random bytes, never a passphrase, so the id, which stands in
// ring documents that anyone with the disk can read, tests no guess; and it belongs to
// this key alone, whatever a file says.
func keyID(key []byte) string { return hex.EncodeToString(derive(key, "etcdguard key id v1", 10)) }

func derive(key []byte, info string, size int) []byte {
	out, err := hkdf.Key(sha256.New, key, nil, info, size)
	if err != nil {
		panic(err) // no such length is asked for
	}
	return out
}

// CreateKeyFile writes a new random key-encryption key to a file that must not be
// there yet, and returns its id. passphrase may be nil; then who has the file has the
// key. A ring whose only provider's file is lost, is lost.
func CreateKeyFile(file string, passphrase []byte) (id string, err error) {
	key := make([]byte, keySize)
	defer clear(key)
	rand.Read(key)
	f := keyFile{id: keyID(key), key: key}
	if passphrase != nil {
		if err := checkNewPassphrase(passphrase); err != nil {
			return "", fmt.Errorf("creating key file %s: %w", file, err)
		}
		f.protect(newStretch(), passphrase)
	}
	err = privatefile.Create(file, f.encode())
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%w; a key file is never overwritten, since what it wraps would be lost: choose another name", err)
	}
	if err != nil {
		return "", fmt.Errorf("creating a key file: %w", err)
	}
	return f.id, nil
}

func (f *keyFile) protect(s stretch, passphrase []byte) {
	f.stretch = s
	f.sealed = gcm(s.key(passphrase)).Seal(nil, nil, f.key, f.head())
	f.key = nil
}

// gcm is AES-256-GCM with a random nonce before the ciphertext. A key-encryption key
// wraps the few data keys of a ring; 96 random bits collide after billions.
func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the size is right
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block size is right
	}
	return aead
}

// head are the lines before the last.
func (f *keyFile) head() []byte {
	head := keyFileTitle + "\nid " + f.id + "\n"
	if f.stretch != (stretch{}) {
		head += "passphrase " + f.stretch.String() + "\n"
	}
	return []byte(head)
}

func (f *keyFile) encode() []byte {
	if f.sealed != nil {
		return append(f.head(), "sealed "+base64.StdEncoding.EncodeToString(f.sealed)+"\n"...)
	}
	return append(f.head(), "key "+base64.StdEncoding.EncodeToString(f.key)+"\n"...)
}

// parseKeyFile reads what CreateKeyFile writes. Its errors hold no byte of the file.
func parseKeyFile(data []byte) (*keyFile, error) {
	if !bytes.HasPrefix(data, []byte("etcdguard key file ")) {
		return nil, errors.New("it is no key file; etcdguard ring new-key-file makes one")
	}
	if !bytes.HasPrefix(data, []byte(keyFileTitle+"\n")) && len(data) > len(keyFileTitle) {
		return nil, errors.New("it is of a version that this etcdguard does not know")
	}
	errCut := errors.New("it is cut short or was altered; put a copy of it back")
	lines := strings.Split(string(data), "\n")
	f := &keyFile{}
	fields := func(names ...string) (values []string) {
		if len(lines) != len(names)+2 {
			return nil
		}
		for i, name := range names {
			value, ok := strings.CutPrefix(lines[i+1], name+" ")
			if !ok {
				return nil
			}
			values = append(values, value)
		}
		return values
	}
	var err error
	if v := fields("id", "key"); v != nil {
		f.id = v[0]
		f.key, err = base64.StdEncoding.DecodeString(v[1])
		if err != nil || len(f.key) != keySize {
			return nil, errCut
		}
	} else if v := fields("id", "passphrase", "sealed"); v != nil {
		f.id = v[0]
		if f.stretch, err = parseStretch(v[1]); err != nil {
			return nil, err
		}
		f.sealed, err = base64.StdEncoding.DecodeString(v[2])
		if err != nil || len(f.sealed) != sealedSize {
			return nil, errCut
		}
	} else {
		return nil, errCut
	}
	if len(f.id) != 20 || !bytes.Equal(f.encode(), data) {
		return nil, errCut
	}
	return f, nil
}

// open returns the key of the file. passphrase is nil where none is configured.
func (f *keyFile) open(passphrase []byte) ([]byte, error) {
	key := f.key
	switch {
	case f.sealed == nil && passphrase != nil:
		// It would be believed to be protected.
		return nil, errors.New("a passphrase is configured, and the file has none: make a new one with etcdguard ring new-key-file --passphrase-file, or remove the setting")
	case f.sealed != nil && passphrase == nil:
		return nil, errNoPassphrase
	case f.sealed != nil:
		var err error
		if key, err = gcm(f.stretch.key(passphrase)).Open(nil, nil, f.sealed, f.head()); err != nil {
			return nil, errWrongPassphrase
		}
	}
	if keyID(key) != f.id {
		return nil, errNotItsKey
	}
	return key, nil
}
