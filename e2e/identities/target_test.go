package identities

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// target is one member, as one identity reaches it: the bare services, without a
// client library that would refuse or repair anything by itself.
type target struct {
	conn   *grpc.ClientConn
	member *cluster.Member
	config *tls.Config
	prey   prey
}

func (t target) kv() pb.KVClient                   { return pb.NewKVClient(t.conn) }
func (t target) lease() pb.LeaseClient             { return pb.NewLeaseClient(t.conn) }
func (t target) auth() pb.AuthClient               { return pb.NewAuthClient(t.conn) }
func (t target) cluster() pb.ClusterClient         { return pb.NewClusterClient(t.conn) }
func (t target) maintenance() pb.MaintenanceClient { return pb.NewMaintenanceClient(t.conn) }

// drain reads a stream of answers to its end and returns why it did not end well.
func drain[T any](stream grpc.ServerStreamingClient[T], err error) error {
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// watch opens one watch and says how the server answered: a refusal comes inside
// the stream, as a watch that is created and cancelled at once.
func (t target) watch(ctx context.Context, key, end string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := pb.NewWatchClient(t.conn).Watch(ctx)
	if err != nil {
		return err
	}
	request := &pb.WatchCreateRequest{Key: []byte(key), RangeEnd: []byte(end), StartRevision: 1, PrevKv: true}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}}); err != nil {
		_, err = stream.Recv() // the reason
		return err
	}
	for {
		answer, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case len(answer.Events) > 0:
			return nil
		case answer.Canceled && answer.WatchId == -1:
			return status.Error(codes.PermissionDenied, answer.CancelReason)
		case answer.Canceled:
			return status.Errorf(codes.Unknown, "the watch was cancelled: %s", answer.CancelReason)
		case answer.Created:
			return nil
		}
	}
}

// http asks the client port as a browser, curl or a proxy would, and makes the
// answer a gRPC status, so that one table can hold both.
func (t target) http(ctx context.Context, method, path, body string, h2 bool) error {
	config := t.config.Clone()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetHTTP2(h2)
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+t.member.ClientAddr()+path, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	code := codes.Unknown
	switch response.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusForbidden:
		code = codes.PermissionDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType:
		code = codes.Unimplemented
	}
	return status.Errorf(code, "HTTP %s", response.Status)
}

// prey is what the cluster holds when the attacks begin.
type prey struct{ lease int64 }

const (
	secret     = "/registry/secrets/default/prey"
	secretsEnd = "/registry/secrets0" // the end of the prefix /registry/secrets/
	pod        = "/registry/pods/kube-system/intruder"
	leased     = "/registry/events/default/leased"
)

// seed puts the prey into the cluster.
func seed(t *testing.T, c *cluster.Cluster) prey {
	conn := c.Members[0].Dial(t, c.TLS(t, admin))
	kv, ctx := pb.NewKVClient(conn), t.Context()
	granted, err := pb.NewLeaseClient(conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 3600})
	if err != nil {
		t.Fatal(err)
	}
	for key, lease := range map[string]int64{
		secret: 0, leased: granted.ID, "/tenant/mine": 0, "/tenanu": 0, "/other/thing": 0,
	} {
		if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte("prey"), Lease: lease}); err != nil {
			t.Fatal(err)
		}
	}
	return prey{granted.ID}
}
