package difftest

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// world is what A's answers have shown to be there. The generator aims by it.
type world struct {
	head, compacted int64             // A's revisions
	put             map[string][]byte // the last value that a KV.Put gave a key; it may be gone
	leases          []int64
	gone            []int64 // leases that were
	streams         []*watchPair
	authOn          bool
	alarms          map[pb.AlarmType]bool
	learners        []uint64
	self            uint64
	selfURL         string
}

// canWrite reports whether a put by the run itself can succeed.
func (r *run) canWrite() bool { return len(r.world.alarms) == 0 }

// internalPut is a write of the run, not of the generator; its answers are
// compared all the same.
func (r *run) internalPut(key []byte) {
	q := request{rpc: "KV.Put", msgs: []proto.Message{&pb.PutRequest{Key: key, Value: []byte("run")}}}
	r.must(q)
}

// must sends a request of the run as root, and requires A to accept it.
func (r *run) must(q request) answer {
	if r.world.authOn {
		q.as = rootUser
	}
	a := r.do(q)
	if a.err != nil {
		r.failf("%s refused what the run itself needs, %s: %v", r.name[sideA], showRequest(q), a.err.Message())
	}
	return a
}

// start learns who the two sides are and waits until neither will change its
// version data by itself any more (etcd does that seconds after it started).
func (r *run) start() {
	var heads [2]int64
	for _, s := range bothSides {
		id := &r.names.a
		if s == sideB {
			id = &r.names.b
		}
		status := r.settled(s)
		heads[s] = status.Header.Revision
		id.cluster, id.member = status.Header.ClusterId, status.Header.MemberId
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		list, err := pb.NewClusterClient(r.conn[s]).MemberList(ctx, &pb.MemberListRequest{})
		if err != nil {
			r.failf("listing the members of %s: %v", r.name[s], err)
		}
		auth, err := pb.NewAuthClient(r.conn[s]).AuthStatus(ctx, &pb.AuthStatusRequest{})
		cancel()
		if err != nil {
			r.failf("asking %s for its auth status: %v", r.name[s], err)
		}
		if len(list.Members) != 1 || auth.Enabled {
			r.failf("%s must be a fresh cluster of one: it has %d members, auth %v", r.name[s], len(list.Members), auth.Enabled)
		}
		id.authRev = auth.AuthRevision
		id.urls = map[string]string{}
		for _, u := range list.Members[0].PeerURLs {
			id.urls[u] = "own peer URL"
		}
		for _, u := range list.Members[0].ClientURLs {
			id.urls[u] = "own client URL"
		}
	}
	if heads[sideB] < heads[sideA] {
		r.failf("%s is at revision %d, before %s at %d: start the reference fresh", r.name[sideB], heads[sideB], r.name[sideA], heads[sideA])
	}
	r.names.revs.start(heads[sideA], heads[sideB], r.opt.OwnWrites)
	r.world = world{head: heads[sideA], self: r.names.a.member, alarms: map[pb.AlarmType]bool{}, put: map[string][]byte{}}
	for u, own := range r.names.a.urls {
		if own == "own peer URL" {
			r.world.selfURL = u
		}
	}
}

func (r *run) settled(s side) *pb.StatusResponse {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		status, err := pb.NewMaintenanceClient(r.conn[s]).Status(ctx, &pb.StatusRequest{})
		cancel()
		if err == nil && status.Leader != 0 && minor(status.StorageVersion) == minor(status.Version) {
			return status
		}
		if time.Now().After(deadline) {
			r.failf("%s does not settle: status %v, error %v", r.name[s], status, err)
		}
	}
}

// minor is the 3.7 of 3.7.3.
func minor(version string) string {
	return version[:max(0, strings.LastIndexByte(version, '.'))]
}

// reset makes both stores empty and open, whatever the last epoch left. Every
// epoch starts here, so that it can be replayed without the ones before.
func (r *run) reset() {
	for _, p := range slices.Clone(r.world.streams) {
		r.closeStream(p)
	}
	r.resetAlarms()
	r.resetAuth()
	for _, id := range slices.Clone(r.world.learners) {
		r.must(request{rpc: "Cluster.MemberRemove", msgs: []proto.Message{&pb.MemberRemoveRequest{ID: id}}})
	}
	r.world.learners = nil
	for _, id := range r.world.leases {
		r.must(request{rpc: "Lease.LeaseRevoke", msgs: []proto.Message{&pb.LeaseRevokeRequest{ID: id}}})
	}
	r.world.leases, r.world.gone = nil, nil
	clear(r.world.put)
	r.must(request{rpc: "KV.DeleteRange", msgs: []proto.Message{&pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}})
	r.internalPut(anchorKey)
	r.must(request{rpc: "KV.Compact", msgs: []proto.Message{&pb.CompactionRequest{Revision: r.world.head, Physical: true}}})
	r.world.compacted = r.world.head
	r.names.hashesFrom = r.world.head
	r.names.hashes = !r.opt.Sealed && r.names.revs.lead() == 0
}

func (r *run) resetAlarms() {
	a := r.must(request{rpc: "Maintenance.Alarm", msgs: []proto.Message{&pb.AlarmRequest{Action: pb.AlarmRequest_GET}}})
	for _, alarm := range a.msgs[0].(*pb.AlarmResponse).Alarms {
		id := alarm.MemberID
		if id == selfMember {
			id = r.world.self
		}
		r.must(request{rpc: "Maintenance.Alarm", msgs: []proto.Message{
			&pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: id, Alarm: alarm.Alarm}}})
	}
	clear(r.world.alarms)
}

const rootPassword = "the-root-password"

func (r *run) authenticateRoot() {
	r.must(request{rpc: "Auth.Authenticate", msgs: []proto.Message{&pb.AuthenticateRequest{Name: rootUser, Password: rootPassword}}})
}

// enableAuth makes sure of root, and switches etcd's own users on.
func (r *run) enableAuth() {
	for _, q := range []request{
		{rpc: "Auth.UserAdd", msgs: []proto.Message{&pb.AuthUserAddRequest{Name: rootUser, Password: rootPassword, Options: &authpb.UserAddOptions{}}}},
		{rpc: "Auth.UserChangePassword", msgs: []proto.Message{&pb.AuthUserChangePasswordRequest{Name: rootUser, Password: rootPassword}}},
		{rpc: "Auth.RoleAdd", msgs: []proto.Message{&pb.AuthRoleAddRequest{Name: rootUser}}},
		{rpc: "Auth.UserGrantRole", msgs: []proto.Message{&pb.AuthUserGrantRoleRequest{User: rootUser, Role: rootUser}}},
		{rpc: "Auth.AuthEnable", msgs: []proto.Message{&pb.AuthEnableRequest{}}},
	} {
		r.do(q) // they may exist already
	}
	r.authenticateRoot()
	r.world.authOn = true
}

func (r *run) resetAuth() {
	if r.world.authOn {
		r.authenticateRoot()
		r.must(request{rpc: "Auth.AuthDisable", msgs: []proto.Message{&pb.AuthDisableRequest{}}})
		r.world.authOn = false
	}
	users := r.must(request{rpc: "Auth.UserList", msgs: []proto.Message{&pb.AuthUserListRequest{}}})
	for _, u := range users.msgs[0].(*pb.AuthUserListResponse).Users {
		r.must(request{rpc: "Auth.UserDelete", msgs: []proto.Message{&pb.AuthUserDeleteRequest{Name: u}}})
	}
	roles := r.must(request{rpc: "Auth.RoleList", msgs: []proto.Message{&pb.AuthRoleListRequest{}}})
	for _, role := range roles.msgs[0].(*pb.AuthRoleListResponse).Roles {
		r.must(request{rpc: "Auth.RoleDelete", msgs: []proto.Message{&pb.AuthRoleDeleteRequest{Role: role}}})
	}
	clear(r.token)
}
