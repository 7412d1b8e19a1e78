package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Config says where the trust of one port comes from and what it demands. The
// fields are etcd's own TLS options (client/pkg/transport.TLSInfo).
type Config struct {
	// CertFile and KeyFile are the server's certificate chain and key, PEM.
	CertFile, KeyFile string
	// CAFile holds the authorities of clients, PEM. Empty: the system's.
	CAFile string
	// CRLFile holds revocation lists of those authorities, PEM or DER; empty: none.
	CRLFile string
	// RequireClientCert refuses a handshake without a client certificate.
	RequireClientCert bool
	// AllowedHostnames, when not empty, are the names of which a client certificate
	// must bear one (etcd's --client-cert-allowed-hostname).
	AllowedHostnames []string
	// AllowedCNs, when not empty, are the common names of which a client certificate
	// must bear one (allowed-cn of client-transport-security in etcd's file).
	AllowedCNs []string
	// MinVersion and MaxVersion are TLS versions; 0 is TLS 1.2 and the highest.
	MinVersion, MaxVersion uint16
	// CipherSuites restricts TLS 1.2; empty is Go's choice.
	CipherSuites []uint16
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Generation is the trust in force at one time. It never changes: a reload makes
// a new one, with its own session ticket keys, so that a session of an old one
// can't be resumed.
type Generation struct {
	tls         *tls.Config
	leaf        *x509.Certificate
	roots       *x509.CertPool
	authorities []*x509.Certificate
	revoked     revocations
	config      Config
}

// Load reads the files of c and checks that they belong together.
func (c Config) Load() (*Generation, error) {
	g := &Generation{config: c}
	if g.config.Now == nil {
		g.config.Now = time.Now
	}
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the server certificate %s with its key %s: %w; "+
			"both must be readable PEM and belong together (--cert-file, --key-file)", c.CertFile, c.KeyFile, err)
	}
	g.leaf = cert.Leaf
	if err := CheckServerNames(g.leaf, c.CertFile); err != nil {
		return nil, err
	}
	if c.CAFile != "" {
		if g.authorities, err = ReadCertificates(c.CAFile); err != nil {
			return nil, fmt.Errorf("loading the client authorities: %w (--trusted-ca-file)", err)
		}
		g.roots = x509.NewCertPool()
		for _, ca := range g.authorities {
			g.roots.AddCert(ca)
		}
	}
	if c.CRLFile != "" {
		if g.revoked, err = readRevocations(c.CRLFile, g.authorities); err != nil {
			return nil, fmt.Errorf("loading the revocation list: %w (--client-crl-file)", err)
		}
	}
	g.tls = &tls.Config{
		Certificates:     []tls.Certificate{cert},
		ClientCAs:        g.roots,
		MinVersion:       max(c.MinVersion, tls.VersionTLS12),
		MaxVersion:       c.MaxVersion,
		CipherSuites:     c.CipherSuites,
		VerifyConnection: g.verifyConnection,
		// The first that the client offers too is taken. A gRPC client offers h2
		// alone; curl and kubelet offer both and belong to the HTTP/1.1 side.
		NextProtos: []string{"http/1.1", "h2"},
		Time:       g.config.Now,
	}
	if c.RequireClientCert || c.CAFile != "" {
		g.tls.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return g, nil
}

// Leaf is the server certificate in force.
func (g *Generation) Leaf() *x509.Certificate { return g.leaf }

// Authorities are the certificates that clients must chain to.
func (g *Generation) Authorities() []*x509.Certificate { return g.authorities }

// RevocationsExpired reports whether a revocation list in force is past its
// nextUpdate (RFC 5280, 5.1.2.5): newer revocations may be missing.
func (g *Generation) RevocationsExpired() bool {
	return !g.revoked.nextUpdate.IsZero() && g.config.Now().After(g.revoked.nextUpdate)
}

// verifyConnection runs at every handshake, resumed ones included, where
// VerifyPeerCertificate does not.
func (g *Generation) verifyConnection(cs tls.ConnectionState) error {
	return g.admit(cs.VerifiedChains)
}

var (
	errRevoked  = errors.New("the client certificate is revoked")
	errHostname = errors.New("the client certificate bears none of the allowed host names")
	errCN       = errors.New("the client certificate bears none of the allowed common names")
)

// admit decides on what X.509 verification leaves open. One good chain is enough.
func (g *Generation) admit(chains [][]*x509.Certificate) error {
	if len(chains) == 0 {
		return nil // no client certificate; whether one is demanded is ClientAuth's
	}
	err := errRevoked
	for _, chain := range chains {
		if g.revoked.holdsAny(chain) {
			continue
		}
		if !g.nameAllowed(chain[0]) {
			err = errHostname
			continue
		}
		if len(g.config.AllowedCNs) > 0 && !slices.Contains(g.config.AllowedCNs, chain[0].Subject.CommonName) {
			err = errCN
			continue
		}
		return nil
	}
	return err
}

func (g *Generation) nameAllowed(leaf *x509.Certificate) bool {
	if len(g.config.AllowedHostnames) == 0 {
		return true
	}
	for _, name := range g.config.AllowedHostnames {
		if leaf.VerifyHostname(name) == nil {
			return true
		}
	}
	return false
}

// stillAdmits reports whether a connection that was let in earlier with these
// certificates would be let in now. nil certificates are nobody's.
func (g *Generation) stillAdmits(certificates []*x509.Certificate) error {
	if len(certificates) == 0 {
		if g.tls.ClientAuth == tls.RequireAndVerifyClientCert {
			return errors.New("a client certificate is demanded now")
		}
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, c := range certificates[1:] {
		intermediates.AddCert(c)
	}
	chains, err := certificates[0].Verify(x509.VerifyOptions{
		Roots:         g.roots,
		Intermediates: intermediates,
		CurrentTime:   g.config.Now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return err
	}
	return g.admit(chains)
}

// CheckServerNames refuses a server certificate without a subject alternative
// name: no Go client accepts it, and etcd's own SAN check lets it pass as a peer
// (etcd issue 8607).
func CheckServerNames(leaf *x509.Certificate, file string) error {
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 && len(leaf.URIs) == 0 {
		return fmt.Errorf("the certificate %s has no subject alternative name; "+
			"issue it again with the DNS names and IP addresses that clients dial", file)
	}
	return nil
}

// ReadCertificates reads every certificate of a PEM file; none is an error.
func ReadCertificates(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d of %s: %w", len(certs)+1, file, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return certs, nil
}

// WebConfig is the TLS of a port that speaks HTTP/1.1 only.
func (g *Generation) WebConfig() *tls.Config {
	c := g.tls.Clone()
	c.NextProtos = []string{"http/1.1"}
	return c
}
