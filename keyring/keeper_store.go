package keyring

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Store is what the keyring asks of the etcd server in this process. It asks with
// etcd's own root credential and past the guard, for keys of the reserved space only.
type Store interface {
	Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error)
	Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error)
	LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error)
	// LeaseRenew returns the new time to live, in seconds.
	LeaseRenew(ctx context.Context, id int64) (int64, error)
	// Watch sends when something in [key, end) may have changed on this member, and at
	// once; several changes may be one signal. The channel is closed when ctx ends or
	// the store stops.
	Watch(ctx context.Context, key, end []byte) (<-chan struct{}, error)
	// Members are all members, learners included, as this member knows them.
	Members() []MemberInfo
	// MemberID is this member's.
	MemberID() uint64
	// RequestTimeout is how long etcd lets a request take before it gives up on it.
	RequestTimeout() time.Duration
}

// MemberInfo is a row of the member list.
type MemberInfo struct {
	ID       uint64
	Name     string // "" until it has started once
	Learner  bool
	PeerURLs []string
}

func (m MemberInfo) String() string {
	if m.Name == "" {
		return fmt.Sprintf("member %016x", m.ID)
	}
	return m.Name
}

// The keys of the keyring.
const (
	// ReservedPrefix begins every key of etcdguard.
	ReservedPrefix = "\x00etcdguard/"
	// DocumentKey holds the ring's document.
	DocumentKey = ReservedPrefix + "ring"
	// MembersPrefix begins the keys with which running members say that they are there
	// and what they have open.
	MembersPrefix = ReservedPrefix + "members/"
)

func memberKey(id uint64) string { return fmt.Sprintf("%s%016x", MembersPrefix, id) }
