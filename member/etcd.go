package member

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// server is what the guard asks of the etcd server in this process.
type server struct{ *etcdserver.EtcdServer }

// Header implements guard.Etcd.
func (s server) Header() *pb.ResponseHeader {
	return &pb.ResponseHeader{
		ClusterId: uint64(s.Cluster().ID()),
		MemberId:  uint64(s.MemberID()),
		Revision:  s.KV().Rev(),
		RaftTerm:  s.Term(),
	}
}

// LeaseKeys implements guard.Etcd. It asks with etcd's own root credential: the
// caller's rights are the guard's business here.
func (s server) LeaseKeys(ctx context.Context, id int64) ([][]byte, error) {
	r, err := s.LeaseTimeToLive(s.AuthStore().WithRoot(ctx), &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
	if errors.Is(err, lease.ErrLeaseNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return r.Keys, nil
}

// HasMember implements guard.Etcd.
func (s server) HasMember(id uint64) bool { return s.IsMemberExist(types.ID(id)) }

// checkReserved refuses data that already has keys where etcdguard keeps its own:
// clients would lose sight of them without a word. Etcdguard's own are no surprise.
func checkReserved(ctx context.Context, s *etcdserver.EtcdServer) error {
	const shown = 10
	names, count := "", 0
	ours := []byte(keyring.ReservedPrefix)
	after := append([]byte(keyring.ReservedPrefix[:len(ours)-1]), ours[len(ours)-1]+1)
	for _, span := range [][2][]byte{{{0}, ours}, {after, etcdapi.FirstClientKey}} {
		found, err := s.KV().Range(ctx, span[0], span[1], mvcc.RangeOptions{Limit: shown, WithTotalCount: true})
		if err != nil {
			return fmt.Errorf("looking for keys in the reserved space: %w", err)
		}
		count += found.Count
		for _, kv := range found.KVs {
			names += "\n  " + strconv.Quote(string(kv.Key))
		}
	}
	if count == 0 {
		return nil
	}
	return fmt.Errorf(`%d keys of clients start with the byte \x00, which is reserved for etcdguard; `+
		"move them with stock etcd before this data is guarded; the first are:%s", count, names)
}
