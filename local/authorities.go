package local

import (
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"github.com/etcdguard/etcdguard/pki"
)

// renewBefore is how long before its end a leaf is issued again when up runs.
const renewBefore = 30 * 24 * time.Hour

// preparePKI makes what is missing of the authorities and leaves, and issues a
// leaf again that does not match its key, its names or its authority any more, or
// that ends soon. What is good stays as it is, and so do running members.
func (l layout) preparePKI(places []placement, say func(string, ...any)) error {
	clients, err := l.authorityFor(pki.Clients, "client", say)
	if err != nil {
		return err
	}
	peers, err := l.authorityFor(pki.Peers, "peer", say)
	if err != nil {
		return err
	}
	if pki.SameAuthority(clients.Certificate(), peers.Certificate()) {
		return withHint("give each its own: a client that the peer port accepts reads and writes everything",
			"checking %s: clients and peers have the same authority", l.join("pki"))
	}
	if err := pki.WriteFile(l.clientsCA(), pki.EncodeCertificates(clients.Certificate()), pki.CertMode); err != nil {
		return err
	}
	issued := 0
	for _, want := range l.leaves(places) {
		authority := clients
		if want.profile.Use == pki.Peer {
			authority = peers
		}
		made, err := ensureLeaf(authority, want)
		if err != nil {
			return err
		}
		if made {
			issued++
		}
	}
	if issued > 0 {
		say("issued %d certificates", issued)
	}
	return nil
}

func (l layout) authorityFor(realm pki.Realm, file string, say func(string, ...any)) (*pki.Authority, error) {
	crt, key := l.authority(file)+".crt", l.authority(file)+".key"
	a, err := pki.LoadAuthority(realm, crt, key)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	a, err = pki.NewAuthority(realm, filepath.Base(l.dir), time.Now())
	if err != nil {
		return nil, err
	}
	say("made the authority for %s", realm)
	return a, a.Save(crt, key)
}

// leaf is one certificate that the cluster needs, and its path without extension.
type leaf struct {
	path    string
	profile pki.Profile
}

func (l layout) leaves(places []placement) []leaf {
	var out []leaf
	for _, p := range places {
		// A member is reached by its address, and on this machine by any loopback name.
		ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		for _, a := range []net.IP{p.client.Addr().AsSlice(), p.peer.Addr().AsSlice()} {
			if !a.Equal(ips[0]) && !a.Equal(ips[1]) {
				ips = append(ips, a)
			}
		}
		name := pkix.Name{CommonName: p.name}
		out = append(out,
			leaf{l.member(p.name, "server"), pki.Profile{Use: pki.Server, Subject: name, DNS: []string{"localhost", p.name}, IP: ips}},
			leaf{l.member(p.name, "peer"), pki.Profile{Use: pki.Peer, Subject: name, DNS: []string{"localhost", p.name}, IP: ips}},
		)
	}
	for _, c := range callers {
		out = append(out, leaf{l.client(c.name), pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: c.cn}}})
	}
	return out
}

func ensureLeaf(a *pki.Authority, want leaf) (made bool, err error) {
	crt, key := want.path+".crt", want.path+".key"
	have, err := pki.LoadLeaf(crt, key)
	switch {
	case err == nil:
		if a.Vouches(have.Certificate, want.profile, time.Now().Add(renewBefore)) == nil {
			return false, nil
		}
		if !a.CanSign() && a.Vouches(have.Certificate, want.profile, time.Now()) == nil {
			return false, nil // good for now, and the operator keeps the key elsewhere
		}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, pki.ErrMismatch):
	default:
		return false, err
	}
	issued, err := a.Issue(want.profile, time.Now())
	if err != nil {
		return false, fmt.Errorf("making %s: %w", crt, err)
	}
	return true, issued.Save(crt, key)
}
