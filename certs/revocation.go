package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// revocations is what the lists in force revoke: serial numbers under the public
// key that signed the list. etcd matches the serial number alone, so that a list
// of one authority revokes certificates of another, and takes lists that nobody
// signed.
type revocations struct {
	serials    map[revokedSerial]struct{}
	nextUpdate time.Time // the earliest of all lists; zero: none states one
}

type revokedSerial struct{ issuerKey, serial string }

func readRevocations(file string, authorities []*x509.Certificate) (revocations, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return revocations{}, err
	}
	r := revocations{serials: map[revokedSerial]struct{}{}}
	blocks, err := derBlocks(data)
	if err != nil {
		return revocations{}, fmt.Errorf("reading %s: %w", file, err)
	}
	for n, der := range blocks {
		list, err := x509.ParseRevocationList(der)
		if err == nil && len(list.Raw) != len(der) {
			err = errors.New("something follows it; several lists have to be PEM")
		}
		if err != nil {
			return revocations{}, fmt.Errorf("reading list %d of %s: %w", n+1, file, err)
		}
		issuer := signerOf(list, authorities)
		if issuer == nil {
			return revocations{}, fmt.Errorf("list %d of %s is not signed by any authority of the trusted CA file", n+1, file)
		}
		for _, entry := range list.RevokedCertificateEntries {
			r.serials[revokedSerial{keyOf(issuer), entry.SerialNumber.String()}] = struct{}{}
		}
		if next := list.NextUpdate; !next.IsZero() && (r.nextUpdate.IsZero() || next.Before(r.nextUpdate)) {
			r.nextUpdate = next
		}
	}
	return r, nil
}

// derBlocks splits a file of PEM lists; a file without PEM is one DER list. What is
// passed over revokes nothing, so nothing is: half a file is what there is to read
// while another is written in place.
func derBlocks(data []byte) (blocks [][]byte, err error) {
	begun := bytes.Count(data, []byte("-----BEGIN "))
	rest := data
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		blocks, rest = append(blocks, block.Bytes), after
	}
	switch {
	case begun == 0:
		return [][]byte{data}, nil
	case len(blocks) != begun:
		return nil, fmt.Errorf("%d PEM blocks begin and %d can be read; write it whole, and put it in place with a rename", begun, len(blocks))
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("something follows the last PEM block; write lists as PEM, or one as DER")
	}
	return blocks, nil
}

func signerOf(list *x509.RevocationList, authorities []*x509.Certificate) *x509.Certificate {
	for _, ca := range authorities {
		if bytes.Equal(ca.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(ca) == nil {
			return ca
		}
	}
	return nil
}

func keyOf(c *x509.Certificate) string { return string(c.RawSubjectPublicKeyInfo) }

// holdsAny reports whether a certificate of chain is revoked by its issuer. The
// root at the end has no issuer to revoke it.
func (r revocations) holdsAny(chain []*x509.Certificate) bool {
	if len(r.serials) == 0 {
		return false
	}
	for i := 0; i+1 < len(chain); i++ {
		if _, revoked := r.serials[revokedSerial{keyOf(chain[i+1]), chain[i].SerialNumber.String()}]; revoked {
			return true
		}
	}
	return false
}
