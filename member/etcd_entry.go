package member

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// EntryHeader implements guard.Etcd. The id is not one that was given out, but as long
// as those are: they begin with two bytes of the member's own (server.go, reqIDGen;
// pkg/idutil).
func (s server) EntryHeader(ctx context.Context) *pb.RequestHeader {
	h := &pb.RequestHeader{ID: uint64(s.MemberID())<<48 | 1<<47}
	// Without native auth there is no name; with it, and a bad token, etcd refuses the
	// request before it looks at its size.
	if who, err := s.AuthInfoFromCtx(ctx); err == nil && who != nil {
		h.Username, h.AuthRevision = who.Username, who.Revision
	}
	return h
}
