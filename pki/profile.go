package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
)

// Use is the one job a leaf can do.
type Use string

const (
	// Server answers on the client port (serverAuth).
	Server Use = "server"
	// Peer is one end of the raft connection between members: each member both
	// listens and dials (serverAuth and clientAuth).
	Peer Use = "peer"
	// Client calls the client port (clientAuth).
	Client Use = "client"
)

func (u Use) realm() Realm {
	if u == Peer {
		return Peers
	}
	return Clients
}

func (u Use) extKeyUsage() []x509.ExtKeyUsage {
	switch u {
	case Server:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case Client:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	default:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
}

// Profile says what a leaf is for and whom it names.
type Profile struct {
	Use     Use
	Subject pkix.Name // a client's CommonName and Organization are what the policy matches
	DNS     []string  // host names; a server or a peer needs one, or an address
	IP      []net.IP
	URI     []*url.URL // a client's SPIFFE identity, for example
}

func (p Profile) validate() error {
	var problems []error
	switch p.Use {
	case Server, Peer:
		if len(p.DNS) == 0 && len(p.IP) == 0 {
			problems = append(problems, fmt.Errorf("a %s certificate needs a DNS name or an address: etcd lets a peer without SAN connect from anywhere", p.Use))
		}
	case Client:
	default:
		problems = append(problems, fmt.Errorf("unknown use %q: it is %s, %s or %s", p.Use, Server, Peer, Client))
	}
	if p.Subject.CommonName == "" {
		problems = append(problems, errors.New("the subject has no common name"))
	}
	if len(problems) > 0 {
		return fmt.Errorf("checking the profile of %q: %w", p.Subject.CommonName, errors.Join(problems...))
	}
	return nil
}
