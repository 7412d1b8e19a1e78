package kms

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/crypto/argon2"

	"github.com/etcdguard/etcdguard/internal/privatefile"
)

const (
	maxPassphrase = 4 << 10
	// minPassphrase is asked of a new passphrase only. It does not make one good; a
	// shorter one can't be.
	minPassphrase = 12
)

// ReadPassphrase reads a passphrase from a file that only this user may read. One
// line break at the end does not belong to it.
func ReadPassphrase(file string) ([]byte, error) {
	data, err := privatefile.Read(file, maxPassphrase)
	if err != nil {
		return nil, fmt.Errorf("reading a passphrase: %w", err)
	}
	return line(data, file)
}

func line(data []byte, file string) ([]byte, error) {
	if text, ended := bytes.CutSuffix(data, []byte("\n")); ended {
		data = bytes.TrimSuffix(text, []byte("\r"))
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("reading a passphrase: %s is empty", file)
	}
	return data, nil
}

// passphraseSource is where a provider's passphrase comes from; the zero value is of
// one that has none.
type passphraseSource struct{ file, credential string }

func (s passphraseSource) String() string {
	if s.credential != "" {
		return "credential " + s.credential
	}
	return s.file
}

// read returns nil where there is no passphrase.
func (s passphraseSource) read() ([]byte, error) {
	switch {
	case s.file != "":
		return ReadPassphrase(s.file)
	case s.credential == "":
		return nil, nil
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, fmt.Errorf("reading a passphrase: systemd gave this process no credentials; say LoadCredential=%s:FILE in its unit", s.credential)
	}
	file := filepath.Join(dir, s.credential)
	data, err := privatefile.ReadCredential(file, maxPassphrase)
	if err != nil {
		return nil, fmt.Errorf("reading a passphrase: %w; the unit says LoadCredential=%s:FILE", err, s.credential)
	}
	return line(data, file)
}

func checkNewPassphrase(passphrase []byte) error {
	switch {
	case len(passphrase) < minPassphrase:
		return fmt.Errorf("the passphrase has fewer than %d bytes; take six random words or more", minPassphrase)
	case len(passphrase) > maxPassphrase:
		return fmt.Errorf("the passphrase has more than %d bytes", maxPassphrase)
	}
	return nil
}

// stretch is how a key is made from a passphrase: Argon2id (RFC 9106) with its cost
// and salt. It is kept with what the key encrypts, and authenticated with it.
type stretch struct {
	time    uint32 // passes
	memory  uint32 // KiB
	threads uint8
	salt    [16]byte
}

// newStretch has the cost that RFC 9106, section 4, recommends where memory is scarce.
func newStretch() stretch {
	s := stretch{time: 3, memory: 64 << 10, threads: 4}
	rand.Read(s.salt[:])
	return s
}

// The most that a file may ask of who reads it: a GiB, and some ten seconds.
const (
	maxTime    = 16
	maxMemory  = 1 << 20
	maxThreads = 16
)

const stretchFormat = "argon2id t=%d m=%d p=%d salt=%s"

func (s stretch) String() string {
	return fmt.Sprintf(stretchFormat, s.time, s.memory, s.threads, base64.RawStdEncoding.EncodeToString(s.salt[:]))
}

func parseStretch(text string) (s stretch, err error) {
	var salt string
	if _, err := fmt.Sscanf(text, stretchFormat, &s.time, &s.memory, &s.threads, &salt); err != nil {
		return s, errors.New("how its key is made from the passphrase can't be read")
	}
	raw, err := base64.RawStdEncoding.DecodeString(salt)
	if err != nil || len(raw) != len(s.salt) {
		return s, errors.New("its salt can't be read")
	}
	s.salt = [16]byte(raw)
	switch {
	case s.String() != text: // white space, leading zeros
		return s, errors.New("how its key is made from the passphrase can't be read")
	case s.time < 1 || s.time > maxTime || s.threads < 1 || s.threads > maxThreads || s.memory < 8*uint32(s.threads) || s.memory > maxMemory:
		return s, fmt.Errorf("its key costs t=%d m=%d p=%d, and t=%d m=%d p=%d are the most", s.time, s.memory, s.threads, maxTime, maxMemory, maxThreads)
	}
	return s, nil
}

func (s stretch) key(passphrase []byte) []byte {
	return argon2.IDKey(passphrase, s.salt[:], s.time, s.memory, s.threads, keySize)
}
