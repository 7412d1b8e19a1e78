package kms

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// ExportName is what the wraps of an export under a passphrase are recorded as. No
// configured provider can have it.
const ExportName = "export"

// stretchAnnotation says how the key of a wrap is made from the passphrase.
const stretchAnnotation = "stretch.export.etcdguard.dev"

// export wraps under a passphrase. Its key id is the salt: random, and of no use
// without the ciphertext, which any guess can be tested with anyway.
type export struct {
	passphrase []byte

	mu     sync.Mutex
	own    stretched // what Encrypt uses: never what a wrap that was opened says
	opened stretched // of the last wrap
}

// stretched is a key made from the passphrase, and how.
type stretched struct {
	stretch
	key []byte
}

// NewExport is the provider that wraps under a passphrase alone, for exports that
// open when every other provider is lost. It belongs into no configuration.
func NewExport(passphrase []byte) (Provider, error) {
	if err := checkNewPassphrase(passphrase); err != nil {
		return nil, err
	}
	return &export{passphrase: passphrase}, nil
}

func (e *export) Name() string { return ExportName }

func (e *export) Status(ctx context.Context) (Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Status{}, err
	}
	return Status{Version: apiVersion, Healthz: healthy, KeyID: e.current().id()}, nil
}

func (s stretch) id() string { return hex.EncodeToString(s.salt[:]) }

// current is what Encrypt uses, made when it is first needed.
func (e *export) current() stretched {
	if e.own.key == nil {
		s := newStretch()
		e.own = stretched{s, s.key(e.passphrase)}
	}
	return e.own
}

// keyFor is the key of a wrap.
func (e *export) keyFor(s stretch) []byte {
	if s == e.own.stretch {
		return e.own.key
	}
	if s != e.opened.stretch {
		e.opened = stretched{s, s.key(e.passphrase)}
	}
	return e.opened.key
}

func (e *export) Encrypt(ctx context.Context, _ string, plaintext []byte) (Wrapped, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Wrapped{}, err
	}
	s := e.current()
	text := []byte(s.String())
	return Wrapped{Ciphertext: gcm(s.key).Seal(nil, nil, plaintext, text), KeyID: s.id(),
		Annotations: map[string][]byte{stretchAnnotation: text}}, nil
}

func (e *export) Decrypt(ctx context.Context, _ string, w Wrapped) ([]byte, error) {
	e.mu.Lock() // one at a time: each takes the memory that the wrap says
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text := w.Annotations[stretchAnnotation]
	s, err := parseStretch(string(text))
	if err != nil {
		return nil, fmt.Errorf("reading a wrap under a passphrase: %w", err)
	}
	if s.id() != w.KeyID {
		return nil, fmt.Errorf("reading a wrap under a passphrase: its salt is not that of key id %q", w.KeyID)
	}
	plaintext, err := gcm(e.keyFor(s)).Open(nil, nil, w.Ciphertext, text)
	if err != nil {
		return nil, errors.New("the passphrase is not the one of this export, or the export was altered")
	}
	return plaintext, nil
}
