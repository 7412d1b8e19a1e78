package member_test

import (
	"context"
	"fmt"
	"math/bits"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/internal/difftest/stock"
)

// TestTheLargestRequestIsTheSame finds the largest requests that stock etcd takes, and
// requires that a sealing member takes the same and nothing larger, to the byte. What
// may differ is the id in the entry of the raft log, which begins with the member's own.
func TestTheLargestRequestIsTheSame(t *testing.T) {
	plain := kvAt(t, stock.Start(t, stock.Config{}))
	sealed := kvAt(t, startSealed(t, t.TempDir(), transport.TLSInfo{}))
	for _, c := range []client{plain, sealed} {
		if _, err := c.auth.RoleAdd(t.Context(), &pb.AuthRoleAddRequest{Name: "r"}); err != nil {
			t.Fatal(err)
		}
	}
	put := func(size int) *pb.PutRequest { return &pb.PutRequest{Key: []byte("k"), Value: make([]byte, size)} }
	ops := func(t *pb.TxnRequest, puts int, value []byte) *pb.TxnRequest {
		for i := range puts {
			t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
				RequestPut: &pb.PutRequest{Key: fmt.Appendf(nil, "k%d", i), Value: value}}})
		}
		return t
	}
	for name, request := range map[string]func(ctx context.Context, c client, size int) error{
		"put": func(ctx context.Context, c client, size int) error {
			_, err := c.kv.Put(ctx, put(size))
			return err
		},
		"put that asks for what was there": func(ctx context.Context, c client, size int) error {
			p := put(size)
			p.PrevKv = true
			_, err := c.kv.Put(ctx, p)
			return err
		},
		"txn of as many puts as there may be": func(ctx context.Context, c client, size int) error {
			t := ops(&pb.TxnRequest{}, stock.MaxTxnOps, make([]byte, size/stock.MaxTxnOps))
			t.Success[0].GetRequestPut().Value = make([]byte, size/stock.MaxTxnOps+size%stock.MaxTxnOps)
			_, err := c.kv.Txn(ctx, t)
			return err
		},
		"txn that compares by value": func(ctx context.Context, c client, size int) error {
			t := ops(&pb.TxnRequest{}, 1, make([]byte, size))
			t.Compare = []*pb.Compare{{Key: []byte("other"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("x")}}}
			t.Success, t.Failure = nil, t.Success
			_, err := c.kv.Txn(ctx, t)
			return err
		},
		"txn that compares with a large value": func(ctx context.Context, c client, size int) error {
			_, err := c.kv.Txn(ctx, ops(&pb.TxnRequest{Compare: []*pb.Compare{
				{Key: []byte("other"), Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: make([]byte, size)}}}}, 1, []byte("v")))
			return err
		},
		"delete": func(ctx context.Context, c client, size int) error {
			_, err := c.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte{1}, RangeEnd: append([]byte{2}, make([]byte, size)...)})
			return err
		},
		"permission": func(ctx context.Context, c client, size int) error {
			_, err := c.auth.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: make([]byte, size)}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := largest(t, plain, request), largest(t, sealed, request)
			if a+plain.id != b+sealed.id {
				t.Errorf("stock etcd takes %d bytes (its ids have %d), the sealing member %d (%d)", a, plain.id, b, sealed.id)
			}
		})
	}
}

type client struct {
	kv   pb.KVClient
	auth pb.AuthClient
	id   int // bytes of the ids of the raft log's entries
}

func kvAt(t *testing.T, address string) client {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s, err := pb.NewMaintenanceClient(conn).Status(t.Context(), &pb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	id := s.Header.MemberId<<48 | 1<<47
	return client{pb.NewKVClient(conn), pb.NewAuthClient(conn), (bits.Len64(id) + 6) / 7}
}

// largest is the size up to which requests are taken; beyond it they are too large.
func largest(t *testing.T, c client, request func(context.Context, client, int) error) int {
	t.Helper()
	takes := func(size int) bool {
		err := request(t.Context(), c, size)
		if err != nil && (status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "etcdserver: request is too large") {
			t.Fatalf("%d bytes: %v", size, err)
		}
		return err == nil
	}
	low, high := stock.MaxRequestBytes-4096, stock.MaxRequestBytes+1
	if !takes(low) || takes(high) {
		t.Fatalf("the edge is not between %d and %d", low, high)
	}
	for low+1 < high {
		if middle := (low + high) / 2; takes(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}
