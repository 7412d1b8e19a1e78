package kms

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"unicode/utf8"
)

// The bounds that kube-apiserver puts on what a plugin answers (k8s.io/apiserver,
// storage/value/encrypt/envelope/kmsv2), so that every plugin that works there works
// here.
const (
	maxKeyID       = 1 << 10
	maxCiphertext  = 1 << 10
	maxAnnotations = 32 << 10
)

// Check refuses what kube-apiserver would not take from a plugin either. What passes
// can be stored as JSON and read back the same.
func (w Wrapped) Check() error {
	switch {
	case len(w.Ciphertext) == 0:
		return errors.New("the ciphertext is empty")
	case len(w.Ciphertext) > maxCiphertext:
		return fmt.Errorf("the ciphertext has %d bytes, and %d are the most", len(w.Ciphertext), maxCiphertext)
	}
	if err := checkKeyID(w.KeyID); err != nil {
		return err
	}
	total := 0
	for name, value := range w.Annotations {
		if !domainName.MatchString(name) {
			return fmt.Errorf("the annotation %q is not named as a domain is", name)
		}
		total += len(name) + len(value)
	}
	if total > maxAnnotations {
		return fmt.Errorf("the annotations have %d bytes, and %d are the most", total, maxAnnotations)
	}
	return nil
}

func checkKeyID(id string) error {
	switch {
	case id == "":
		return errors.New("the key id is empty")
	case len(id) > maxKeyID:
		return fmt.Errorf("the key id has %d bytes, and %d are the most", len(id), maxKeyID)
	case !utf8.ValidString(id):
		return errors.New("the key id is not UTF-8")
	}
	return nil
}

var domainName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,62})(\.[a-z0-9]([-a-z0-9]{0,62}))+$`)

// Clone is a copy that shares no bytes with w.
func (w Wrapped) Clone() Wrapped {
	w.Ciphertext = bytes.Clone(w.Ciphertext)
	w.Annotations = maps.Clone(w.Annotations)
	for name, value := range w.Annotations {
		w.Annotations[name] = bytes.Clone(value)
	}
	return w
}

var providerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$`)

// CheckName refuses what can't be the name of a provider: lower-case letters, digits,
// "-" and "." can, up to 63 of them.
func CheckName(name string) error {
	if !providerName.MatchString(name) {
		return fmt.Errorf("%q can't be the name of a provider: up to 63 of a-z, 0-9, - and . can, beginning and ending with a letter or digit", name)
	}
	return nil
}
