package guard

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
)

// stages is what a message passes before etcd sees it, in this order. The first
// error is the answer.
var stages = [...]func(*Guard, context.Context, *Request) error{
	(*Guard).understand,
	(*Guard).confine,
	(*Guard).refuseFatal,
	(*Guard).authorise,
	(*Guard).beOpen,
	(*Guard).recordIntent,
}

func (g *Guard) judge(ctx context.Context, r *Request) error {
	for _, stage := range stages {
		if err := stage(g, ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// understand refuses what this build does not know: what a later etcd means by it
// can't be judged here.
func (g *Guard) understand(_ context.Context, r *Request) error {
	if r.action == etcdapi.NoAction {
		return g.refuse(r, "an action that this version of etcdguard does not know")
	}
	if where := etcdapi.UnknownField(r.message); where != "" {
		return g.refuse(r, "an unknown field in "+where)
	}
	return nil
}

// confine keeps clients out of etcdguard's own keys: before authorise, so that
// rules are held against the range that etcd will really be given.
func (g *Guard) confine(_ context.Context, r *Request) error {
	asked := r.message
	if w, ok := asked.(*pb.WatchRequest); ok {
		if w.GetCreateRequest() == nil {
			return nil
		}
		if err := etcdapi.Confine(w.GetCreateRequest()); err != nil {
			return g.denyReserved(r)
		}
		return nil
	}
	if err := etcdapi.Confine(asked); err != nil {
		return g.denyReserved(r)
	}
	return nil
}

// refuseFatal makes up for checks that etcd lacks, in the words that it has for such
// requests elsewhere. All of them end up in the raft log, where they harm every member, and
// again at every start.
func (g *Guard) refuseFatal(_ context.Context, r *Request) error {
	var answer error
	switch m := r.message.(type) {
	case *pb.TxnRequest:
		if etcdapi.OverlapsOpenEnded(m) {
			answer = rpctypes.ErrGRPCDuplicateKey
		}
	case *pb.MemberUpdateRequest:
		// MemberAdd checks its URLs; MemberUpdate leaves it to whoever dials them. An
		// ID that is no member's goes no further than etcd's "member not found".
		if _, err := types.NewURLs(m.PeerURLs); err != nil && g.etcd.HasMember(m.ID) {
			answer = rpctypes.ErrGRPCMemberBadURLs
		}
	case *pb.AuthUserAddRequest:
		answer = nameTooLong(m.Name)
	case *pb.AuthRoleAddRequest:
		answer = nameTooLong(m.Name)
	}
	if answer != nil {
		r.turnedDown(audit.Refused, "etcd does not survive such a request")
		g.count(r.caller, r.action, refused)
	}
	return answer
}

// nameTooLong is the answer to a name that etcd's database does not take for a key
// (bbolt, MaxKeySize), which etcd finds out when it is too late.
func nameTooLong(name string) error {
	const most = 32 << 10
	if len(name) > most {
		return errTooLarge
	}
	return nil
}
