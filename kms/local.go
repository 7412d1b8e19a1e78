package kms

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"

	"github.com/etcdguard/etcdguard/internal/privatefile"
)

const (
	apiVersion = "v2"
	healthy    = "ok"
)

// local is a provider whose key is in a file. The file is read each time, so that
// what it reports is so now: a file that went missing is noticed before the next
// start needs it, and one that came back works at once.
type local struct {
	name       string
	keyFile    string
	passphrase passphraseSource

	mu   sync.Mutex
	last opened // what the file was opened to the last time, since Argon2id is slow
}

// opened is an opened key file, and of what bytes.
type opened struct {
	file, passphrase []byte
	key              *wrappingKey
}

// wrappingKey wraps data keys. Its AEAD has a key derived for this purpose.
type wrappingKey struct {
	id   string
	aead cipher.AEAD
}

func (l *local) Name() string { return l.name }

// open reads the key file; the error names it and the way out.
func (l *local) open() (*wrappingKey, error) {
	data, err := privatefile.Read(l.keyFile, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("opening a key file: %w", err)
	}
	passphrase, err := l.passphrase.read()
	if err != nil {
		return nil, err
	}
	// One at a time: a passphrase takes the memory that its file says.
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := &l.last; last.key != nil && bytes.Equal(last.file, data) && subtle.ConstantTimeCompare(last.passphrase, passphrase) == 1 {
		return last.key, nil
	}
	f, err := parseKeyFile(data)
	if err != nil {
		return nil, fmt.Errorf("opening key file %s: %w", l.keyFile, err)
	}
	key, err := f.open(passphrase)
	if errors.Is(err, errWrongPassphrase) {
		err = fmt.Errorf("%w; it came from %v", err, l.passphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("opening key file %s: %w", l.keyFile, err)
	}
	l.last = opened{data, passphrase, &wrappingKey{f.id, gcm(derive(key, "etcdguard key file wrap v1", keySize))}}
	return l.last.key, nil
}

func (l *local) Status(ctx context.Context) (Status, error) {
	if err := ctx.Err(); err != nil {
		return Status{}, err
	}
	key, err := l.open()
	if err != nil {
		return Status{}, err
	}
	return Status{Version: apiVersion, Healthz: healthy, KeyID: key.id}, nil
}

func (l *local) Encrypt(ctx context.Context, _ string, plaintext []byte) (Wrapped, error) {
	if err := ctx.Err(); err != nil {
		return Wrapped{}, err
	}
	key, err := l.open()
	if err != nil {
		return Wrapped{}, err
	}
	return Wrapped{Ciphertext: key.aead.Seal(nil, nil, plaintext, []byte(key.id)), KeyID: key.id}, nil
}

func (l *local) Decrypt(ctx context.Context, _ string, w Wrapped) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, err := l.open()
	if err != nil {
		return nil, err
	}
	if w.KeyID != key.id {
		return nil, fmt.Errorf("key file %s holds another key, with id %q; put the file with id %q there", l.keyFile, key.id, w.KeyID)
	}
	plaintext, err := key.aead.Open(nil, nil, w.Ciphertext, []byte(key.id))
	if err != nil {
		return nil, errors.New("the wrapped key was altered, or wrapped by something else under the same key id")
	}
	return plaintext, nil
}
