package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"
)

// Realm is what an authority vouches for: who may use the client port, or who
// may be a member. No authority does both.
type Realm string

const (
	// Clients is the realm of the client port: servers' and clients' leaves.
	Clients Realm = "clients"
	// Peers is the realm of the peer port.
	Peers Realm = "peers"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 365 * 24 * time.Hour

	// backdate lets a certificate be used at once on a host whose clock runs
	// behind the one that issued it.
	backdate = time.Hour

	serialBits = 128 // RFC 5280 allows 20 octets; CA/B asks for at least 64 random bits
)

// Authority is a certificate authority: a certificate and, where it is at hand,
// the key that signs in its name. It is immutable and safe for concurrent use.
type Authority struct {
	realm Realm
	cert  *x509.Certificate
	key   crypto.Signer // nil: the key is kept elsewhere, as it should be
}

// NewAuthority makes a self-signed authority for a realm, valid for ten years
// from now. Name tells one cluster's authorities from another's; it may be empty.
func NewAuthority(realm Realm, name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of the %s authority: %w", realm, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	cn := "etcdguard " + string(realm)
	if name != "" {
		cn += " " + name
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The realm stands in the subject, so that an operator who reads a chain,
		// and LoadAuthority, can tell the two authorities apart.
		Subject:               pkix.Name{CommonName: cn, OrganizationalUnit: []string{string(realm)}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		// No intermediates: an authority signs leaves and nothing else.
		MaxPathLenZero: true,
		KeyUsage:       x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the %s authority: %w", realm, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back the %s authority: %w", realm, err)
	}
	return &Authority{realm: realm, cert: cert, key: key}, nil
}

// Realm is what the authority vouches for.
func (a *Authority) Realm() Realm { return a.realm }

// CanSign reports whether the key is at hand. Without it an authority vouches for
// what it signed before and issues nothing.
func (a *Authority) CanSign() bool { return a.key != nil }

// Certificate is the authority's own certificate. It must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// CertPool holds this authority alone.
func (a *Authority) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue signs a new leaf with a new key for the profile, valid for one year from
// now, or until the authority itself ends if that is sooner.
func (a *Authority) Issue(p Profile, now time.Time) (*Leaf, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	if p.Use.realm() != a.realm {
		return nil, fmt.Errorf("issuing %s: a %s certificate is not signed by the %s authority; use the one of the %s",
			p.Subject.CommonName, p.Use, a.realm, p.Use.realm())
	}
	if a.key == nil {
		return nil, fmt.Errorf("issuing %s: the key of the %s authority is not here; put its key file back for as long as this takes",
			p.Subject.CommonName, a.realm)
	}
	notAfter := now.Add(leafLifetime)
	if a.cert.NotAfter.Before(notAfter) {
		notAfter = a.cert.NotAfter
	}
	if !notAfter.After(now) {
		return nil, fmt.Errorf("issuing %s: the %s authority ended on %s; make a new one",
			p.Subject.CommonName, a.realm, a.cert.NotAfter.Format(time.DateOnly))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", p.Subject.CommonName, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               p.Subject,
		DNSNames:              p.DNS,
		IPAddresses:           p.IP,
		URIs:                  p.URI,
		NotBefore:             now.Add(-backdate),
		NotAfter:              notAfter,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           p.Use.extKeyUsage(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", p.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back %s: %w", p.Subject.CommonName, err)
	}
	return &Leaf{Certificate: cert, key: key}, nil
}

// Vouches reports why a leaf is not, or no longer at the given time, one that
// this authority would issue for the profile: signed by another key, for another
// use, without one of the names, or not valid then. It returns nil if it is.
func (a *Authority) Vouches(leaf *x509.Certificate, p Profile, at time.Time) error {
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots:       a.CertPool(),
		CurrentTime: at,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return fmt.Errorf("verifying %s against the %s authority: %w", leaf.Subject.CommonName, a.realm, err)
	}
	if !slices.Equal(leaf.ExtKeyUsage, p.Use.extKeyUsage()) {
		return fmt.Errorf("%s is no %s certificate: its extended key usage differs", leaf.Subject.CommonName, p.Use)
	}
	if leaf.Subject.CommonName != p.Subject.CommonName || !slices.Equal(leaf.Subject.Organization, p.Subject.Organization) {
		return fmt.Errorf("%s is not the subject asked for, %s", leaf.Subject, p.Subject)
	}
	for _, name := range p.DNS {
		if !slices.Contains(leaf.DNSNames, name) {
			return fmt.Errorf("%s does not name the host %s", leaf.Subject.CommonName, name)
		}
	}
	for _, ip := range p.IP {
		if !slices.ContainsFunc(leaf.IPAddresses, ip.Equal) {
			return fmt.Errorf("%s does not name the address %s", leaf.Subject.CommonName, ip)
		}
	}
	for _, uri := range p.URI {
		if !slices.ContainsFunc(leaf.URIs, func(have *url.URL) bool { return have.String() == uri.String() }) {
			return fmt.Errorf("%s does not carry %s", leaf.Subject.CommonName, uri)
		}
	}
	return nil
}

// SameAuthority reports whether two certificates speak with one key. Subjects and
// file names prove nothing: the same CA under two names is still one CA.
func SameAuthority(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

func newSerial() (*big.Int, error) {
	for {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
		if err != nil {
			return nil, fmt.Errorf("drawing a serial number: %w", err)
		}
		if serial.Sign() > 0 { // zero is not a serial number (RFC 5280, 4.1.2.2)
			return serial, nil
		}
	}
}

var errNotAuthority = errors.New("not a certificate authority")
