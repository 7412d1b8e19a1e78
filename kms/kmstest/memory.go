package kmstest

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/etcdguard/etcdguard/kms"
)

// Memory is a provider whose keys are in memory, and that fails as it is told. It may
// be told at any time.
type Memory struct {
	name string

	mu        sync.Mutex
	keys      map[string]cipher.AEAD // by id
	current   string
	err       error
	gate      chan struct{} // closed: calls go through
	idSaid    string
	flips     bool
	noDecrypt bool
	encrypts  int
	decrypts  int
}

// New makes a provider that works, with one key.
func New(name string) *Memory {
	m := &Memory{name: name, keys: map[string]cipher.AEAD{}, gate: make(chan struct{})}
	close(m.gate)
	m.Rotate()
	return m
}

// Rotate has it wrap with a new key. It still unwraps with the old ones.
func (m *Memory) Rotate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	m.current = rand.Text()
	m.keys[m.current] = aead
}

// Forget has it lose every key but the one it wraps with.
func (m *Memory) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = map[string]cipher.AEAD{m.current: m.keys[m.current]}
}

// Fail has every call fail with err, until it is nil.
func (m *Memory) Fail(err error) { m.set(func() { m.err = err }) }

// FailDecrypt has Decrypt fail alone: a caller who may encrypt only.
func (m *Memory) FailDecrypt(fails bool) { m.set(func() { m.noDecrypt = fails }) }

// Corrupt has Decrypt return other bytes than were wrapped.
func (m *Memory) Corrupt(corrupts bool) { m.set(func() { m.flips = corrupts }) }

// SayKeyID has Encrypt and Status name that key id, whatever key they use; "" ends it.
func (m *Memory) SayKeyID(id string) { m.set(func() { m.idSaid = id }) }

// Hang has calls wait until their context ends or release is called.
func (m *Memory) Hang() (release func()) {
	gate := make(chan struct{})
	m.set(func() { m.gate = gate })
	return sync.OnceFunc(func() { close(gate) })
}

// Calls is how often Encrypt and Decrypt were asked.
func (m *Memory) Calls() (encrypts, decrypts int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.encrypts, m.decrypts
}

func (m *Memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// enter waits at the gate and returns with the lock held, or an error.
func (m *Memory) enter(ctx context.Context, count *int) error {
	m.mu.Lock()
	gate := m.gate
	if count != nil {
		*count++
	}
	m.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-gate:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.err != nil {
		defer m.mu.Unlock()
		return m.err
	}
	return nil
}

func (m *Memory) said() string {
	if m.idSaid != "" {
		return m.idSaid
	}
	return m.current
}

// Name is the name it was made with.
func (m *Memory) Name() string { return m.name }

// Status is as kms.Provider has it.
func (m *Memory) Status(ctx context.Context) (kms.Status, error) {
	if err := m.enter(ctx, nil); err != nil {
		return kms.Status{}, err
	}
	defer m.mu.Unlock()
	return kms.Status{Version: "v2", Healthz: "ok", KeyID: m.said()}, nil
}

// Encrypt is as kms.Provider has it.
func (m *Memory) Encrypt(ctx context.Context, _ string, plaintext []byte) (kms.Wrapped, error) {
	if err := m.enter(ctx, &m.encrypts); err != nil {
		return kms.Wrapped{}, err
	}
	defer m.mu.Unlock()
	return kms.Wrapped{Ciphertext: m.keys[m.current].Seal(nil, nil, plaintext, nil), KeyID: m.said(),
		Annotations: map[string][]byte{"memory.kmstest.etcdguard.dev": []byte("1")}}, nil
}

// Decrypt is as kms.Provider has it.
func (m *Memory) Decrypt(ctx context.Context, _ string, w kms.Wrapped) ([]byte, error) {
	if err := m.enter(ctx, &m.decrypts); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	if m.noDecrypt {
		return nil, errors.New("permission denied")
	}
	key, ok := m.keys[w.KeyID]
	if !ok {
		return nil, fmt.Errorf("there is no key with the id %q here", w.KeyID)
	}
	plaintext, err := key.Open(nil, nil, w.Ciphertext, nil)
	if err != nil {
		return nil, errors.New("the ciphertext was altered")
	}
	if m.flips {
		plaintext[len(plaintext)-1] ^= 1
	}
	return plaintext, nil
}
