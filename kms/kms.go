// Package kms is the plug for key-encryption keys: providers behind the contract of
// the Kubernetes KMS v2 API (k8s.io/kms/apis/v2), so that whatever can wrap keys for a
// kube-apiserver can wrap the data keys of a ring.
package kms

import "context"

// Provider wraps data keys. Its methods may be called concurrently, may take as
// long as ctx allows, and may fail for a while: a ring can have several providers.
type Provider interface {
	// Name is what the configuration calls the provider, and what a ring's document
	// records with each wrapped key. It never changes for one key-encryption key.
	Name() string
	// Status reports whether the provider works and which key it would wrap with now.
	Status(ctx context.Context) (Status, error)
	// Encrypt wraps plaintext. uid is for the provider's own log.
	Encrypt(ctx context.Context, uid string, plaintext []byte) (Wrapped, error)
	// Decrypt undoes Encrypt, with the key that w.KeyID names.
	Decrypt(ctx context.Context, uid string, w Wrapped) ([]byte, error)
}

// Status is the answer to a StatusRequest of the KMS v2 API.
type Status struct {
	Version string // "v2"
	Healthz string // "ok", or what is wrong
	KeyID   string // the key that Encrypt uses; authoritative, never reused
}

// Wrapped is the answer to an EncryptRequest of the KMS v2 API, kept with the ring.
type Wrapped struct {
	Ciphertext  []byte            `json:"ciphertext"`
	KeyID       string            `json:"keyID"`
	Annotations map[string][]byte `json:"annotations,omitempty"`
}
