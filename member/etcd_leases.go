package member

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// ClientLeases implements guard.Etcd, as etcd's own LeaseLeases does for a user who is
// not root (v3_server.go, checkLeaseLeases), but for the leases of the reserved space.
func (s server) ClientLeases(ctx context.Context) (*pb.LeaseLeasesResponse, error) {
	user, err := s.AuthInfoFromCtx(ctx)
	if err != nil || user == nil {
		return nil, rpctypes.ErrGRPCPermissionDenied // whoever it is, etcd has said so already
	}
	root := s.AuthStore().WithRoot(ctx)
	all, err := s.LeaseLeases(root, &pb.LeaseLeasesRequest{})
	if err != nil {
		return nil, err
	}
	etcdapi.WithoutReservedLeases(all)
	for _, l := range all.Leases {
		keys, err := s.LeaseKeys(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			if err := s.AuthStore().IsRangePermitted(user, key, nil); err != nil {
				return nil, rpctypes.ErrGRPCPermissionDenied
			}
		}
	}
	all.Header = s.Header()
	return all, nil
}
