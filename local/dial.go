package local

import (
	"context"
	"fmt"
	"net/netip"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/prove"
)

// loadClient reads one of the ready-made client certificates.
func (c *Cluster) loadClient(name string) (*pki.Leaf, error) {
	return pki.LoadLeaf(c.client(name)+".crt", c.client(name)+".key")
}

// connectAs opens a gRPC connection to one member as the holder of a certificate.
func (c *Cluster) connectAs(leaf *pki.Leaf, at netip.AddrPort) (*grpc.ClientConn, error) {
	cfg, err := prove.TLS(c.clientsCA(), leaf)
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

// readKey asks for one key. Linearizable unless said otherwise: it is answered
// only by a member that a majority agrees with.
func readKey(ctx context.Context, conn grpc.ClientConnInterface) error {
	_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte(prove.ProbeKey)})
	return err
}
