package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/etcdguard/etcdguard/pki"
)

// tlsAs is how to reach the client port as the holder of a certificate, nil being
// nobody. The server is always authenticated.
func (c *Cluster) tlsAs(leaf *pki.Leaf) (*tls.Config, error) {
	return tlsTo(c.clientsCA(), leaf)
}

func tlsTo(caFile string, leaf *pki.Leaf) (*tls.Config, error) {
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

// loadClient reads one of the ready-made client certificates.
func (c *Cluster) loadClient(name string) (*pki.Leaf, error) {
	return pki.LoadLeaf(c.client(name)+".crt", c.client(name)+".key")
}

// connectAs opens a gRPC connection to one member as the holder of a certificate.
func (c *Cluster) connectAs(leaf *pki.Leaf, at netip.AddrPort) (*grpc.ClientConn, error) {
	cfg, err := c.tlsAs(leaf)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+at.String(),
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", at, err)
	}
	return conn, nil
}

// probeKey is a key that no one is known to use. It is read, never written.
const probeKey = "etcdguard/probe"

// readKey asks for one key. Linearizable unless said otherwise: it is answered
// only by a member that a majority agrees with.
func readKey(ctx context.Context, conn grpc.ClientConnInterface) error {
	_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte(probeKey)})
	return err
}
