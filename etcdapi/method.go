package etcdapi

import (
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// Method is one RPC that an etcd 3.7 member serves.
type Method struct {
	// FullName is gRPC's name for it, "/etcdserverpb.KV/Range".
	FullName string
	// Action is what it does. For the RPCs whose request decides that
	// (Maintenance.Alarm, Maintenance.Downgrade), Method.Of tells; for KV.Txn it is
	// the envelope, and WalkTxn finds the rest.
	Action Action
}

// methods is every RPC of every service that etcd registers for clients with
// v3rpc.Server, and no other: what is not here is refused.
var methods = func() map[string]Method {
	table := map[string]Method{}
	add := func(service string, rpcs map[string]Action) {
		for name, action := range rpcs {
			full := "/" + service + "/" + name
			table[full] = Method{FullName: full, Action: action}
		}
	}
	add("etcdserverpb.KV", map[string]Action{
		"Range":       KVRange,
		"RangeStream": KVRangeStream,
		"Put":         KVPut,
		"DeleteRange": KVDeleteRange,
		"Txn":         KVTxn,
		"Compact":     KVCompact,
	})
	add("etcdserverpb.Watch", map[string]Action{"Watch": WatchWatch})
	add("etcdserverpb.Lease", map[string]Action{
		"LeaseGrant":      LeaseGrant,
		"LeaseRevoke":     LeaseRevoke,
		"LeaseKeepAlive":  LeaseKeepAlive,
		"LeaseTimeToLive": LeaseTimeToLive,
		"LeaseLeases":     LeaseLeases,
	})
	add("etcdserverpb.Cluster", map[string]Action{
		"MemberAdd":     ClusterMemberAdd,
		"MemberRemove":  ClusterMemberRemove,
		"MemberUpdate":  ClusterMemberUpdate,
		"MemberList":    ClusterMemberList,
		"MemberPromote": ClusterMemberPromote,
	})
	add("etcdserverpb.Maintenance", map[string]Action{
		"Alarm":      MaintenanceAlarmGet,
		"Status":     MaintenanceStatus,
		"Defragment": MaintenanceDefragment,
		"Hash":       MaintenanceHash,
		"HashKV":     MaintenanceHashKV,
		"Snapshot":   MaintenanceSnapshot,
		"MoveLeader": MaintenanceMoveLeader,
		"Downgrade":  MaintenanceDowngradeValidate,
	})
	add("etcdserverpb.Auth", map[string]Action{
		"AuthEnable":           AuthAuthEnable,
		"AuthDisable":          AuthAuthDisable,
		"AuthStatus":           AuthAuthStatus,
		"Authenticate":         AuthAuthenticate,
		"UserAdd":              AuthUserAdd,
		"UserGet":              AuthUserGet,
		"UserList":             AuthUserList,
		"UserDelete":           AuthUserDelete,
		"UserChangePassword":   AuthUserChangePassword,
		"UserGrantRole":        AuthUserGrantRole,
		"UserRevokeRole":       AuthUserRevokeRole,
		"RoleAdd":              AuthRoleAdd,
		"RoleGet":              AuthRoleGet,
		"RoleList":             AuthRoleList,
		"RoleDelete":           AuthRoleDelete,
		"RoleGrantPermission":  AuthRoleGrantPermission,
		"RoleRevokePermission": AuthRoleRevokePermission,
	})
	add(healthpb.Health_ServiceDesc.ServiceName, map[string]Action{
		"Check": HealthCheck,
		"List":  HealthList,
		"Watch": HealthWatch,
	})
	return table
}()

// LookupMethod finds an RPC by gRPC's full name; false means that the guard does
// not know it and must not let it through.
func LookupMethod(fullName string) (Method, bool) {
	m, ok := methods[fullName]
	return m, ok
}

// Methods returns every known RPC, in no order.
func Methods() []Method {
	all := make([]Method, 0, len(methods))
	for _, m := range methods {
		all = append(all, m)
	}
	return all
}

// Of is what the RPC does when it is sent req. NoAction means that the request
// asks for something that nobody here knows: an enum value that a later etcd may
// have added.
func (m Method) Of(req proto.Message) Action {
	switch req := req.(type) {
	case *pb.AlarmRequest:
		switch req.Action {
		case pb.AlarmRequest_GET:
			return MaintenanceAlarmGet
		case pb.AlarmRequest_ACTIVATE:
			return MaintenanceAlarmActivate
		case pb.AlarmRequest_DEACTIVATE:
			return MaintenanceAlarmDeactivate
		}
		return NoAction
	case *pb.DowngradeRequest:
		switch req.Action {
		case pb.DowngradeRequest_VALIDATE:
			return MaintenanceDowngradeValidate
		case pb.DowngradeRequest_ENABLE:
			return MaintenanceDowngradeEnable
		case pb.DowngradeRequest_CANCEL:
			return MaintenanceDowngradeCancel
		}
		return NoAction
	}
	return m.Action
}

// services are the services of the methods.
var services = func() map[string]bool {
	all := map[string]bool{}
	for _, m := range methods {
		service, _, _ := strings.Cut(strings.TrimPrefix(m.FullName, "/"), "/")
		all[service] = true
	}
	return all
}()

// HasService reports whether a member serves RPCs of service, "etcdserverpb.KV".
func HasService(service string) bool { return services[service] }
