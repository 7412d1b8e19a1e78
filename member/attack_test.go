package member

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/policy"
)

// A client whose authority is an intermediate of the peers' sends that along, and is
// a peer.
func TestAnAuthorityBelowThatOfThePeersIsShared(t *testing.T) {
	dir := t.TempDir()
	make := func(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
		if parent == nil {
			parent, signer = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if err := pki.WriteFile(filepath.Join(dir, name), pki.EncodeCertificates(cert), 0o600); err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	root, rootKey := make("root", nil, nil)
	make("below", root, rootKey)
	make("beside", root, rootKey)
	for _, c := range []struct {
		clients, peers string
		shared         bool
	}{
		{"below", "root", true},
		{"root", "root", true},
		{"below", "beside", false}, // two of one root, each named for its own port
	} {
		name, err := sharedAuthority(filepath.Join(dir, c.clients), filepath.Join(dir, c.peers))
		if err != nil {
			t.Fatal(err)
		}
		if (name != "") != c.shared {
			t.Errorf("clients by %s, peers by %s: shared is %q", c.clients, c.peers, name)
		}
	}
}

// The write-ahead log holds every value, wherever it lies.
func TestALogThatOthersCanReadIsRefusedAsDataIs(t *testing.T) {
	w := newWorld(t)
	wal := filepath.Join(w.dir, "wal")
	if err := os.Mkdir(wal, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := w.config("wal-dir=" + wal)
	check(t, err)
	rules, err := policy.Load(c.Guard.Policy)
	check(t, err)
	if _, err := preflight(c.Etcd, c.Guard, rules); err == nil || !strings.Contains(err.Error(), wal) {
		t.Errorf("accepted: %v", err)
	}
	check(t, os.Chmod(wal, 0o700))
	if _, err := preflight(c.Etcd, c.Guard, rules); err != nil {
		t.Error(err)
	}
}

// A flood of connections that takes the last file must not end the member.
func TestRunningOutOfFilesDoesNotEndTheHTTPPort(t *testing.T) {
	l := &brokenListener{errs: []error{
		&net.OpError{Op: "accept", Err: syscall.EMFILE},
		&net.OpError{Op: "accept", Err: syscall.ENFILE},
		net.ErrClosed,
	}}
	err := (&refuseGRPC{Door: certs.NewDoor(certs.DoorConfig{}), Listener: l}).run()
	if !errors.Is(err, net.ErrClosed) || len(l.errs) != 0 {
		t.Errorf("ended with %v, %d errors to come", err, len(l.errs))
	}
}

type brokenListener struct {
	net.Listener
	errs []error
}

func (l *brokenListener) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}
