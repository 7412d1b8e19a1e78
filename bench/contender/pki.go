package contender

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// clientName is the common name of the benchmark's client certificate.
const clientName = "bench"

// PKI is a throw-away set of certificates: one authority for clients and the
// server that they talk to, one for peers. It lives for a day.
type PKI struct {
	clientCA, serverCert, serverKey string // files
	peerCA, peerCert, peerKey       string

	roots  *x509.CertPool
	client tls.Certificate
}

// NewPKI makes the certificates below dir.
func NewPKI(dir string) (*PKI, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making certificates: %w", err)
	}
	clients, err := newAuthority("bench client CA")
	if err != nil {
		return nil, err
	}
	peers, err := newAuthority("bench peer CA")
	if err != nil {
		return nil, err
	}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	// Stock etcd's JSON gateway dials its own port with the server's certificate,
	// so that one is good for both directions.
	server, err := clients.issue("bench server", both)
	if err != nil {
		return nil, err
	}
	client, err := clients.issue(clientName, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})
	if err != nil {
		return nil, err
	}
	peer, err := peers.issue("bench peer", both)
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	p := &PKI{
		clientCA: file("client-ca.crt"), serverCert: file("server.crt"), serverKey: file("server.key"),
		peerCA: file("peer-ca.crt"), peerCert: file("peer.crt"), peerKey: file("peer.key"),
		roots: x509.NewCertPool(),
	}
	p.roots.AddCert(clients.cert)
	if p.client, err = tls.X509KeyPair(client.cert, client.key); err != nil {
		return nil, fmt.Errorf("making certificates: %w", err)
	}
	for path, content := range map[string][]byte{
		p.clientCA: certPEM(clients.cert.Raw), p.serverCert: server.cert, p.serverKey: server.key,
		p.peerCA: certPEM(peers.cert.Raw), p.peerCert: peer.cert, p.peerKey: peer.key,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return nil, fmt.Errorf("writing certificates: %w", err)
		}
	}
	return p, nil
}

// Client is the TLS configuration of the benchmark's client.
func (p *PKI) Client() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.client},
		RootCAs:      p.roots,
		ServerName:   "127.0.0.1",
		MinVersion:   tls.VersionTLS12,
	}
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

type keyPair struct{ cert, key []byte } // PEM

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}
	template := certificate(name)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}
	return &authority{cert: cert, key: key}, nil
}

func (a *authority) issue(name string, usage []x509.ExtKeyUsage) (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("issuing %s: %w", name, err)
	}
	template := certificate(name)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = usage
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return keyPair{}, fmt.Errorf("issuing %s: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return keyPair{}, fmt.Errorf("issuing %s: %w", name, err)
	}
	return keyPair{cert: certPEM(der), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})}, nil
}

func certificate(name string) *x509.Certificate {
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand does not fail
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(24 * time.Hour),
	}
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
