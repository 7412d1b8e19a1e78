package atrest

import (
	"encoding/json"
	"fmt"

	"github.com/etcdguard/etcdguard/internal/signed"
)

// MaxReport is the size of the largest signed report, in bytes.
const MaxReport = signed.MaxReport

const reportKind = "atrest"

// GenerateKey makes a key for signing reports, writes it to a new file, and returns
// the public key.
func GenerateKey(file, name string) (public string, err error) { return signed.Generate(file, name) }

// Signer returns what signs reports with the key in file.
func Signer(file string) (func(*Report) ([]byte, error), error) {
	key, err := signed.ReadKey(file)
	if err != nil {
		return nil, err
	}
	return func(r *Report) ([]byte, error) { return key.Sign(reportKind, r) }, nil
}

// Verify checks a signed report with the keys of those who may have signed it, and
// returns it with the name of the one who did.
func Verify(report []byte, public ...string) (*Report, string, error) {
	s, err := signed.Verify(report, public...)
	if err != nil {
		return nil, "", err
	}
	if s.Kind != reportKind {
		return nil, "", fmt.Errorf("verifying a report: it is of the kind %q, not %q", s.Kind, reportKind)
	}
	var r Report
	if err := json.Unmarshal(s.Document, &r); err != nil {
		return nil, "", fmt.Errorf("verifying a report: its signature is right, but this etcdguard cannot read it: %w", err)
	}
	return &r, s.Signer, nil
}
