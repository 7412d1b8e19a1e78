package prove

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/etcdguard/etcdguard/pki"
)

// Node is one member, as the files of its operator describe it.
type Node struct {
	Name                  string
	Client, Peer, Metrics string    // host:port; Metrics speaks plain HTTP, "" is none
	ClientCA, PeerCA      string    // files with the authorities of the two ports
	Server, PeerLeaf      *pki.Leaf // the member's own certificates
	Pid                   int       // of its process, 0: not known here
	Data                  []string  // its data directory, and its WAL directory if that is elsewhere; none: not on this machine
	// Private is the folder that holds the member's keys and data, and nothing that
	// others may read but certificates. Skip leaves parts of it out; nil is none.
	Private string
	Skip    func(dir string) bool
	// Keys are the files with its private keys, where no one folder holds everything.
	Keys []string
}

// Callers are the identities that the attempts use. Those that must be refused live
// in memory for as long as the attempts, and are not written anywhere.
type Callers struct {
	Admin   *pki.Leaf // may do everything: the control
	Monitor *pki.Leaf // may ask for the status, and read no key

	nobody, expired, foreign *pki.Leaf
	noNobody                 error // why there is no nobody and nothing expired
}

// NewCallers makes the identities that must be refused. clients is the authority of
// the client port; where its key is not at hand, nil or unable to sign, what needs a
// certificate of its own cannot be tried.
func NewCallers(admin, monitor *pki.Leaf, clients *pki.Authority) (Callers, error) {
	c := Callers{Admin: admin, Monitor: monitor}
	now := time.Now()
	other, err := pki.NewAuthority(pki.Clients, "", now)
	if err != nil {
		return c, err
	}
	asAdmin := pki.Profile{Use: pki.Client, Subject: admin.Certificate.Subject}
	if c.foreign, err = other.Issue(asAdmin, now); err != nil {
		return c, err
	}
	if clients == nil || !clients.CanSign() {
		c.noNobody = untried("the key of the client authority is not at hand to issue a certificate that no rule names, and one that is expired")
		return c, nil
	}
	nobody := pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: "etcdguard-nobody"}}
	if c.nobody, err = clients.Issue(nobody, now); err != nil {
		return c, err
	}
	c.expired, err = clients.Issue(asAdmin, now.AddDate(-2, 0, 0))
	return c, err
}

// TLS is how to reach a port whose server the authorities in caFile vouch for, as
// the holder of a certificate, nil being nobody. The server is always authenticated.
func TLS(caFile string, leaf *pki.Leaf) (*tls.Config, error) {
	ca, err := pki.LoadCertificate(caFile)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AddCert(ca)
	if leaf != nil {
		// Not Certificates: with those a client keeps its certificate to itself when
		// the server's list of authorities does not hold the issuer, and a refusal
		// would only show that nothing was sent.
		pair := leaf.TLS()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return cfg, nil
}

// connectAs opens a gRPC connection to the client port as the holder of a
// certificate.
func (n Node) connectAs(leaf *pki.Leaf) (*grpc.ClientConn, error) {
	cfg, err := TLS(n.ClientCA, leaf)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+n.Client,
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", n.Client, err)
	}
	return conn, nil
}
