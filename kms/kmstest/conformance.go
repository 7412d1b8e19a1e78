// Package kmstest has what tests of key-encryption providers share: the suite that
// every kms.Provider must pass, and a provider in memory that fails as it is told.
package kmstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/etcdguard/etcdguard/kms"
)

// Setup is what Conformance tests.
type Setup struct {
	// New makes a provider that works, with a key-encryption key of its own. Two calls
	// make two providers that know nothing of each other.
	New func(t *testing.T) kms.Provider
	// Reopen makes a second provider of the same configuration, as after a restart.
	Reopen func(t *testing.T, p kms.Provider) kms.Provider
}

// Conformance is the suite that every provider must pass: what a ring relies on.
func Conformance(t *testing.T, s Setup) {
	secret := bytes.Repeat([]byte{0xa5, 0x5a}, 26) // as long as what a ring wraps
	wrap := func(t *testing.T, p kms.Provider) kms.Wrapped {
		t.Helper()
		w, err := p.Encrypt(t.Context(), rand.Text(), bytes.Clone(secret))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	mustOpen := func(t *testing.T, p kms.Provider, w kms.Wrapped) {
		t.Helper()
		if got, err := p.Decrypt(t.Context(), rand.Text(), w); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%s does not open what it should: %v", p.Name(), err)
		}
	}
	mustNotOpen := func(t *testing.T, p kms.Provider, w kms.Wrapped, what string) {
		t.Helper()
		if got, err := p.Decrypt(t.Context(), rand.Text(), w); err == nil || len(got) > 0 {
			t.Errorf("%s opens %s (%v)", p.Name(), what, err)
		}
	}

	t.Run("NameIsOneAndStays", func(t *testing.T) {
		p := s.New(t)
		if err := kms.CheckName(p.Name()); err != nil || p.Name() != s.Reopen(t, p).Name() {
			t.Errorf("%q: %v", p.Name(), err)
		}
	})
	t.Run("StatusNamesTheKeyThatWraps", func(t *testing.T) {
		p := s.New(t)
		status, err := p.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w := wrap(t, p)
		if status.Version != "v2" || status.Healthz != "ok" || status.KeyID != w.KeyID {
			t.Errorf("%+v, and it wraps with %q", status, w.KeyID)
		}
	})
	t.Run("WhatItWrapsCanBeStored", func(t *testing.T) {
		p := s.New(t)
		w := wrap(t, p)
		if err := w.Check(); err != nil {
			t.Error(err)
		}
		if bytes.Contains(w.Ciphertext, secret[:8]) {
			t.Error("the secret is in the ciphertext")
		}
		data, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var stored kms.Wrapped
		if err := json.Unmarshal(data, &stored); err != nil {
			t.Fatal(err)
		}
		mustOpen(t, p, stored)
	})
	t.Run("OpensAfterARestart", func(t *testing.T) {
		p := s.New(t)
		w := wrap(t, p)
		again := s.Reopen(t, p)
		mustOpen(t, again, w)
		mustOpen(t, p, wrap(t, again))
		if w2 := wrap(t, again); w2.KeyID != w.KeyID {
			t.Errorf("the key id went from %q to %q", w.KeyID, w2.KeyID)
		}
	})
	t.Run("WrapsTheSameTwiceDifferently", func(t *testing.T) {
		p := s.New(t)
		if bytes.Equal(wrap(t, p).Ciphertext, wrap(t, p).Ciphertext) {
			t.Error("equal secrets are recognised by their ciphertext")
		}
	})
	t.Run("OpensNothingAltered", func(t *testing.T) {
		p := s.New(t)
		w := wrap(t, p)
		for i := range w.Ciphertext {
			altered := w.Clone()
			altered.Ciphertext[i] ^= 1
			mustNotOpen(t, p, altered, fmt.Sprintf("a ciphertext with byte %d flipped", i))
		}
		for _, n := range []int{0, 1, len(w.Ciphertext) / 2, len(w.Ciphertext) - 1} {
			cut := w.Clone()
			cut.Ciphertext = cut.Ciphertext[:n]
			mustNotOpen(t, p, cut, fmt.Sprintf("the first %d bytes of a ciphertext", n))
		}
		mustOpen(t, p, w) // control
	})
	t.Run("OpensUnderItsKeyIDOnly", func(t *testing.T) {
		p := s.New(t)
		w := wrap(t, p)
		for _, id := range []string{"", "x", w.KeyID + "x"} {
			other := w.Clone()
			other.KeyID = id
			mustNotOpen(t, p, other, fmt.Sprintf("what another key wrapped, %q", id))
		}
		other := wrap(t, s.New(t))
		if other.KeyID == w.KeyID {
			t.Errorf("two keys have the id %q", w.KeyID)
		}
		mustNotOpen(t, p, other, "what another provider wrapped")
		other.KeyID = w.KeyID
		mustNotOpen(t, p, other, "what another provider wrapped, under its own key id")
	})
	t.Run("StopsWhenTheCallerDoes", func(t *testing.T) {
		p := s.New(t)
		w := wrap(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Status(ctx); err == nil {
			t.Error("Status goes on")
		}
		if _, err := p.Encrypt(ctx, "uid", secret); err == nil {
			t.Error("Encrypt goes on")
		}
		if _, err := p.Decrypt(ctx, "uid", w); err == nil {
			t.Error("Decrypt goes on")
		}
		mustOpen(t, p, w)
	})
	t.Run("TakesManyCallsAtOnce", func(t *testing.T) {
		p := s.New(t)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				w, err := p.Encrypt(t.Context(), rand.Text(), bytes.Clone(secret))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := p.Decrypt(t.Context(), rand.Text(), w); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("got something else: %v", err)
				}
			})
		}
		all.Wait()
	})
	t.Run("KeepsNothingOfWhatItIsGiven", func(t *testing.T) {
		p := s.New(t)
		plain := bytes.Clone(secret)
		w, err := p.Encrypt(t.Context(), "uid", plain)
		if err != nil {
			t.Fatal(err)
		}
		clear(plain)
		first, err := p.Decrypt(t.Context(), "uid", w)
		if err != nil {
			t.Fatal(err)
		}
		clear(first)
		mustOpen(t, p, w)
	})
}
