package identities

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
)

// noSuchMember is an id that no member has: where etcd gets to see it, it says so,
// and the cluster stays as it is.
const noSuchMember = 0x5eed

// clusterTechniques are T7 and the rest of T8: foreign members, and sabotage.
func clusterTechniques() []technique {
	// The URLs differ because a member's id is made of them and the time: one that
	// was removed a moment ago must not come back.
	join := func(url string, learner bool) func(context.Context, target) error {
		return func(ctx context.Context, t target) error {
			request := &pb.MemberAddRequest{PeerURLs: []string{url}, IsLearner: learner}
			added, err := t.cluster().MemberAdd(ctx, request)
			// etcd takes nobody in until its members have known each other for 5 s.
			for errors.Is(rpctypes.Error(err), rpctypes.ErrUnhealthy) && ctx.Err() == nil {
				time.Sleep(200 * time.Millisecond)
				added, err = t.cluster().MemberAdd(ctx, request)
			}
			if err == nil {
				_, err = t.cluster().MemberRemove(ctx, &pb.MemberRemoveRequest{ID: added.Member.ID})
			}
			return err
		}
	}
	raise := func(action pb.AlarmRequest_AlarmAction, alarm pb.AlarmType) func(context.Context, target) error {
		return func(ctx context.Context, t target) error {
			_, err := t.maintenance().Alarm(ctx, &pb.AlarmRequest{Action: action, MemberID: noSuchMember, Alarm: alarm})
			if err == nil && action == pb.AlarmRequest_ACTIVATE {
				_, err = t.maintenance().Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: noSuchMember, Alarm: alarm})
			}
			return err
		}
	}
	downgrade := func(action pb.DowngradeRequest_DowngradeAction) func(context.Context, target) error {
		return func(ctx context.Context, t target) error {
			_, err := t.maintenance().Downgrade(ctx, &pb.DowngradeRequest{Action: action, Version: "1.0.0"})
			return err
		}
	}
	return []technique{
		{threat: "T7", name: "a rogue learner added", do: join("https://127.0.0.1:1", true), may: may(admin)},
		{threat: "T7", name: "a rogue voter added", do: join("https://127.0.0.1:2", false), may: may(admin)},
		{threat: "T7", name: "a member removed", may: may(admin), etcd: codes.NotFound, do: func(ctx context.Context, t target) error {
			_, err := t.cluster().MemberRemove(ctx, &pb.MemberRemoveRequest{ID: noSuchMember})
			return err
		}},
		{threat: "T7", name: "a member pointed elsewhere", may: may(admin), etcd: codes.NotFound, do: func(ctx context.Context, t target) error {
			_, err := t.cluster().MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: noSuchMember, PeerURLs: []string{"https://127.0.0.1:1"}})
			return err
		}},
		{threat: "T7", name: "a learner promoted", may: may(admin), etcd: codes.NotFound, do: func(ctx context.Context, t target) error {
			_, err := t.cluster().MemberPromote(ctx, &pb.MemberPromoteRequest{ID: noSuchMember})
			return err
		}},
		{threat: "T8", name: "alarm raised: no space", do: raise(pb.AlarmRequest_ACTIVATE, pb.AlarmType_NOSPACE), may: may(admin)},
		{threat: "T8", name: "alarm raised: corrupt", do: raise(pb.AlarmRequest_ACTIVATE, pb.AlarmType_CORRUPT), may: may(admin)},
		{threat: "T8", name: "alarm silenced", do: raise(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_CORRUPT), may: may(admin)},
		{threat: "T8", name: "defragmentation", may: may(admin), do: func(ctx context.Context, t target) error {
			_, err := t.maintenance().Defragment(ctx, &pb.DefragmentRequest{})
			return err
		}},
		{threat: "T8", name: "leadership moved", may: may(admin), etcd: codes.FailedPrecondition, do: func(ctx context.Context, t target) error {
			_, err := t.maintenance().MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: noSuchMember})
			return err
		}},
		{threat: "T8", name: "downgrade enabled", do: downgrade(pb.DowngradeRequest_ENABLE), may: may(admin), etcd: codes.InvalidArgument},
		{threat: "T8", name: "downgrade validated", do: downgrade(pb.DowngradeRequest_VALIDATE), may: may(admin), etcd: codes.InvalidArgument},
		{threat: "T8", name: "downgrade cancelled", do: downgrade(pb.DowngradeRequest_CANCEL), may: may(admin)},
	}
}

// authTechniques are T10: etcd's own users and roles. Their order is that of a life:
// what is allowed to the admin, as the control, builds on what came before.
func authTechniques() []technique {
	row := func(name string, etcd codes.Code, do func(ctx context.Context, a pb.AuthClient) error) technique {
		return technique{threat: "T10", name: name, may: may(admin), etcd: etcd,
			do: func(ctx context.Context, t target) error { return do(ctx, t.auth()) }}
	}
	const user, role = "intruder", "everything"
	all := &authpb.Permission{PermType: authpb.READWRITE, Key: []byte{0}, RangeEnd: []byte{0}}
	return []technique{
		row("authentication switched on", codes.FailedPrecondition, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.AuthEnable(ctx, &pb.AuthEnableRequest{})
			return err
		}),
		row("authentication switched off", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.AuthDisable(ctx, &pb.AuthDisableRequest{})
			return err
		}),
		row("state of authentication", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.AuthStatus(ctx, &pb.AuthStatusRequest{})
			return err
		}),
		row("password guessed", codes.FailedPrecondition, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "guess"})
			return err
		}),
		row("user added", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: user, Password: "guess"})
			return err
		}),
		row("users listed", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.UserList(ctx, &pb.AuthUserListRequest{})
			return err
		}),
		row("user looked up", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.UserGet(ctx, &pb.AuthUserGetRequest{Name: user})
			return err
		}),
		row("password changed", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: user, Password: "guess again"})
			return err
		}),
		row("role added", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: role})
			return err
		}),
		row("roles listed", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.RoleList(ctx, &pb.AuthRoleListRequest{})
			return err
		}),
		row("role given a right on everything", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: all})
			return err
		}),
		row("role looked up", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: role})
			return err
		}),
		row("role granted", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: user, Role: role})
			return err
		}),
		row("role revoked", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: user, Role: role})
			return err
		}),
		row("right revoked", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.RoleRevokePermission(ctx, &pb.AuthRoleRevokePermissionRequest{Role: role, Key: []byte{0}, RangeEnd: []byte{0}})
			return err
		}),
		row("role deleted", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: role})
			return err
		}),
		row("user deleted", codes.OK, func(ctx context.Context, a pb.AuthClient) error {
			_, err := a.UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: user})
			return err
		}),
	}
}
