// Package signed makes reports that another machine can check: a JSON document in a
// signed note (c2sp.org/signed-note, Ed25519), readable as it is.
//
// A report says what its signer saw. Whoever verifies it trusts that signer's key and
// the machine that held it, and nothing on the way. A report with one byte changed
// is refused.
package signed

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/etcdguard/etcdguard/internal/privatefile"
)

// The text of the note: this line, the kind of report, the SHA-256 of the document,
// and the document as one line of JSON.
const firstLine = "etcdguard report v1"

// maxKey and MaxReport bound what is read from files, in bytes.
const (
	maxKey    = 4 << 10
	MaxReport = 256 << 20
)

// Generate makes a key pair for the signer of that name, a host's for example, and
// writes the private key to a new file that only this user can read. The public key is
// for those who verify.
func Generate(file, name string) (public string, err error) {
	if name == "" || strings.ContainsAny(name, "+ \t\n") {
		return "", fmt.Errorf("making a signing key: the name %q is empty, or has a space or a plus sign in it", name)
	}
	private, public, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", fmt.Errorf("making a signing key: %w", err)
	}
	if err := privatefile.Create(file, []byte(private+"\n")); err != nil {
		return "", fmt.Errorf("making a signing key: %w", err)
	}
	return public, nil
}

// Key signs reports.
type Key struct{ signer note.Signer }

// ReadKey reads a private key that Generate wrote.
func ReadKey(file string) (Key, error) {
	data, err := privatefile.Read(file, maxKey)
	if err != nil {
		return Key{}, fmt.Errorf("reading the signing key: %w", err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(data)))
	if err != nil { // its text may hold a part of the key
		return Key{}, fmt.Errorf("reading the signing key: there is none in %s: make one with etcdguard atrest keygen", file)
	}
	return Key{signer}, nil
}

// Name is the name of the key's owner.
func (k Key) Name() string { return k.signer.Name() }

// Sign makes a report of that kind ("atrest") from what v is as JSON.
func (k Key) Sign(kind string, v any) ([]byte, error) {
	document, err := json.Marshal(v)
	if err == nil && bytes.ContainsAny(document, "\x7f") {
		document = bytes.ReplaceAll(document, []byte{0x7f}, []byte(`\u007f`))
	}
	if err != nil {
		return nil, fmt.Errorf("signing a report: %w", err)
	}
	report, err := note.Sign(&note.Note{Text: text(kind, document)}, k.signer)
	if err != nil {
		return nil, fmt.Errorf("signing a report: %w", err)
	}
	return report, nil
}

func text(kind string, document []byte) string {
	return fmt.Sprintf("%s\nkind %s\nsha256 %x\n%s\n", firstLine, kind, sha256.Sum256(document), document)
}

// Report is a report whose signature was verified.
type Report struct {
	Kind     string
	Signer   string          // the name in the key that verified it
	Document json.RawMessage // one line
}

// ErrSignature: no key that was given has signed these bytes.
var ErrSignature = errors.New("no signature on it is by a key that was given: the report was changed, or another key signed it")

// Verify checks a report with the public keys of those who may have signed it.
func Verify(report []byte, public ...string) (r Report, err error) {
	if len(report) > MaxReport {
		return r, fmt.Errorf("verifying a report: it has more than %d bytes", MaxReport)
	}
	var keys []note.Verifier
	for _, p := range public {
		v, err := note.NewVerifier(strings.TrimSpace(p))
		if err != nil {
			return r, fmt.Errorf("verifying a report: %q is no public key as etcdguard atrest keygen prints it: %w", p, err)
		}
		keys = append(keys, v)
	}
	n, err := note.Open(report, note.VerifierList(keys...))
	if err != nil {
		return r, fmt.Errorf("verifying a report: %w", explain(err))
	}
	// The last character of a signature has bits to spare, which note.Open passes over.
	for _, s := range n.Sigs {
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return r, fmt.Errorf("verifying a report: %w", ErrSignature)
		}
	}
	lines := strings.SplitN(n.Text, "\n", 4)
	if len(lines) != 4 || lines[0] != firstLine {
		return r, fmt.Errorf("verifying a report: it is signed, but is no report that this etcdguard knows")
	}
	r = Report{strings.TrimPrefix(lines[1], "kind "), n.Sigs[0].Name, json.RawMessage(strings.TrimSuffix(lines[3], "\n"))}
	if n.Text != text(r.Kind, r.Document) || !json.Valid(r.Document) {
		return Report{}, fmt.Errorf("verifying a report: it is signed, but its parts disagree")
	}
	return r, nil
}

func explain(err error) error {
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	if errors.As(err, &unverified) || errors.As(err, &invalid) {
		return ErrSignature
	}
	return err
}
