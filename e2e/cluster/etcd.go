package cluster

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Etcd is an etcd client of one member, or of all if none is named.
func (c *Cluster) Etcd(t testing.TB, config *tls.Config, members ...*Member) *clientv3.Client {
	t.Helper()
	endpoints := c.Endpoints()
	if len(members) > 0 {
		endpoints = nil
		for _, m := range members {
			endpoints = append(endpoints, m.ClientAddr())
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: config, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// Dial is a bare gRPC connection to the member, without the client's retries.
func (m *Member) Dial(t testing.TB, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(m.ClientAddr(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Leader is the member that leads now, and the revision that it is at.
func (c *Cluster) Leader(t testing.TB, ctx context.Context) (*Member, int64) {
	t.Helper()
	client := c.Etcd(t, c.TLS(t, "admin"))
	for _, m := range c.Members {
		status, err := client.Status(ctx, m.ClientAddr())
		if err != nil {
			t.Fatal(err)
		}
		if status.Leader == status.Header.MemberId {
			return m, status.Header.Revision
		}
	}
	t.Fatal("no member leads")
	return nil, 0
}
