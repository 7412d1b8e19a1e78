package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Modes of what this package writes. Certificates are public; keys are not.
const (
	KeyMode  fs.FileMode = 0o600
	CertMode fs.FileMode = 0o644
	DirMode  fs.FileMode = 0o700
)

// Leaf is a certificate and its private key.
type Leaf struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// TLS is the leaf as crypto/tls takes it.
func (l *Leaf) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{l.Certificate.Raw}, PrivateKey: l.key, Leaf: l.Certificate}
}

// Save writes the pair. The key goes first: whoever finds a certificate finds
// its key beside it. A crash between the two leaves a pair that does not match,
// which LoadLeaf reports, so that the pair is issued again.
func (l *Leaf) Save(certFile, keyFile string) error {
	return savePair(l.Certificate, l.key, certFile, keyFile)
}

// Save writes the authority. A crash in the middle leaves a key without its
// certificate: nothing was signed with it yet, so it can be made anew.
func (a *Authority) Save(certFile, keyFile string) error {
	return savePair(a.cert, a.key, certFile, keyFile)
}

func savePair(cert *x509.Certificate, key crypto.Signer, certFile, keyFile string) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", cert.Subject.CommonName, err)
	}
	if err := WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), KeyMode); err != nil {
		return err
	}
	return WriteFile(certFile, EncodeCertificates(cert), CertMode)
}

// EncodeCertificates is the certificates as PEM, in order: a bundle.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

// LoadLeaf reads a pair and makes sure that key and certificate belong together.
// A missing file is fs.ErrNotExist.
func LoadLeaf(certFile, keyFile string) (*Leaf, error) {
	cert, key, err := loadPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &Leaf{Certificate: cert, key: key}, nil
}

// LoadAuthority reads an authority for a realm. A key file that does not exist is
// no error: operators keep the keys of authorities off the node, and CanSign tells.
// A missing certificate is fs.ErrNotExist. It refuses one that says of
// itself that it is for the other realm: two file names swapped would otherwise
// turn every client into a member.
func LoadAuthority(realm Realm, certFile, keyFile string) (*Authority, error) {
	cert, err := LoadCertificate(certFile)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	if _, err := os.Lstat(keyFile); !errors.Is(err, fs.ErrNotExist) {
		if cert, key, err = loadPair(certFile, keyFile); err != nil {
			return nil, err
		}
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("reading %s: %w; it signs nothing", certFile, errNotAuthority)
	}
	for _, unit := range cert.Subject.OrganizationalUnit {
		if unit != string(realm) && (unit == string(Clients) || unit == string(Peers)) {
			return nil, fmt.Errorf("reading %s: this authority is for %s, not for %s; were the files swapped?", certFile, unit, realm)
		}
	}
	return &Authority{realm: realm, cert: cert, key: key}, nil
}

func loadPair(certFile, keyFile string) (*x509.Certificate, crypto.Signer, error) {
	cert, err := LoadCertificate(certFile)
	if err != nil {
		return nil, nil, err
	}
	if info, err := os.Stat(keyFile); err != nil {
		return nil, nil, fmt.Errorf("reading a private key: %w", err)
	} else if info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("reading %s: others may read this key (mode %04o); make new keys, or if nobody did: chmod 600 %s",
			keyFile, info.Mode().Perm(), keyFile)
	}
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("reading a private key: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", keyFile, err)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%w: %s does not belong to %s; put the matching key there or issue both again",
			ErrMismatch, keyFile, certFile)
	}
	return cert, key, nil
}

// ErrMismatch says that a private key is not the one of the certificate.
var ErrMismatch = errors.New("key and certificate differ")

// LoadCertificate reads the first certificate of a PEM file.
func LoadCertificate(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, fmt.Errorf("reading %s: no PEM block CERTIFICATE in it", file)
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		return cert, nil
	}
}

// parseKey never puts a byte of its input into an error.
func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block in it; a private key in PEM is needed")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errors.New("the PEM block is no unencrypted private key")
	}
	if err != nil {
		return nil, errors.New("the private key cannot be parsed")
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return key, nil
	case *rsa.PrivateKey:
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	default:
		return nil, errors.New("a private key of this kind cannot sign")
	}
}

// WriteFile replaces a file whole or not at all, also across a power loss: the
// bytes are on the disk before the name points at them, and the name is on the
// disk before WriteFile returns. The mode holds whatever the umask. The
// directory must exist. It serves for the configuration that names the keys, too.
func WriteFile(name string, data []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, ".new-*") // 0600 from birth: a key is never readable, not even for a moment
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("writing %s: %w", name, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
