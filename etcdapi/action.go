package etcdapi

import (
	"fmt"
	"strings"
)

// Action is one thing a caller can do to etcd. It is named after the RPC that
// does it, "KV.Range"; where one RPC does several things that differ in what
// they endanger, each is an Action of its own, "Maintenance.Alarm:Get".
type Action uint8

// The actions, in the order of etcd's rpc.proto. The zero Action is none.
const (
	NoAction Action = iota

	KVRange
	KVRangeStream
	KVPut
	KVDeleteRange
	KVTxn // the envelope; what is inside is judged as the four below
	KVTxnCompare
	KVTxnRange
	KVTxnPut
	KVTxnDeleteRange
	KVCompact

	WatchWatch

	LeaseGrant
	LeaseRevoke
	LeaseKeepAlive
	LeaseTimeToLive
	LeaseLeases

	ClusterMemberAdd
	ClusterMemberRemove
	ClusterMemberUpdate
	ClusterMemberList
	ClusterMemberPromote

	MaintenanceAlarmGet
	MaintenanceAlarmActivate
	MaintenanceAlarmDeactivate
	MaintenanceStatus
	MaintenanceDefragment
	MaintenanceHash
	MaintenanceHashKV
	MaintenanceSnapshot
	MaintenanceMoveLeader
	MaintenanceDowngradeValidate
	MaintenanceDowngradeEnable
	MaintenanceDowngradeCancel

	AuthAuthEnable
	AuthAuthDisable
	AuthAuthStatus
	AuthAuthenticate
	AuthUserAdd
	AuthUserGet
	AuthUserList
	AuthUserDelete
	AuthUserChangePassword
	AuthUserGrantRole
	AuthUserRevokeRole
	AuthRoleAdd
	AuthRoleGet
	AuthRoleList
	AuthRoleDelete
	AuthRoleGrantPermission
	AuthRoleRevokePermission

	HealthCheck
	HealthList
	HealthWatch

	// What the client port answers over HTTP/1.1.
	HTTPHealth
	HTTPMetrics
	HTTPVersion
	HTTPDebug // pprof, where the operator opened it

	// etcdguard's own administration, over HTTP/1.1 on the client port too.
	SealStatus     // phase, keys and members; no name of a key
	SealCount      // values by how they are stored, with names of prefixes and keys
	SealPhase      // one step up or down
	SealRotate     // a new data key, to be active once all members have it
	SealRetire     // a data key that nothing needs any more, gone
	SealReseal     // rewriting stored values in the form that is wanted
	SealQuarantine // listing, moving and dropping values that do not open
	SealBackups    // which backups need which data keys
	RingExport     // the ring, wrapped

	actionCount
)

// actions holds each Action's name and whether it names keys.
var actions = [actionCount]struct {
	name  string
	keyed bool
}{
	KVRange:          {"KV.Range", true},
	KVRangeStream:    {"KV.RangeStream", true},
	KVPut:            {"KV.Put", true},
	KVDeleteRange:    {"KV.DeleteRange", true},
	KVTxn:            {"KV.Txn", false},
	KVTxnCompare:     {"KV.Txn:Compare", true},
	KVTxnRange:       {"KV.Txn:Range", true},
	KVTxnPut:         {"KV.Txn:Put", true},
	KVTxnDeleteRange: {"KV.Txn:DeleteRange", true},
	KVCompact:        {"KV.Compact", false},

	WatchWatch: {"Watch.Watch", true},

	LeaseGrant:      {"Lease.LeaseGrant", false},
	LeaseRevoke:     {"Lease.LeaseRevoke", false},
	LeaseKeepAlive:  {"Lease.LeaseKeepAlive", false},
	LeaseTimeToLive: {"Lease.LeaseTimeToLive", false},
	LeaseLeases:     {"Lease.LeaseLeases", false},

	ClusterMemberAdd:     {"Cluster.MemberAdd", false},
	ClusterMemberRemove:  {"Cluster.MemberRemove", false},
	ClusterMemberUpdate:  {"Cluster.MemberUpdate", false},
	ClusterMemberList:    {"Cluster.MemberList", false},
	ClusterMemberPromote: {"Cluster.MemberPromote", false},

	MaintenanceAlarmGet:          {"Maintenance.Alarm:Get", false},
	MaintenanceAlarmActivate:     {"Maintenance.Alarm:Activate", false},
	MaintenanceAlarmDeactivate:   {"Maintenance.Alarm:Deactivate", false},
	MaintenanceStatus:            {"Maintenance.Status", false},
	MaintenanceDefragment:        {"Maintenance.Defragment", false},
	MaintenanceHash:              {"Maintenance.Hash", false},
	MaintenanceHashKV:            {"Maintenance.HashKV", false},
	MaintenanceSnapshot:          {"Maintenance.Snapshot", false},
	MaintenanceMoveLeader:        {"Maintenance.MoveLeader", false},
	MaintenanceDowngradeValidate: {"Maintenance.Downgrade:Validate", false},
	MaintenanceDowngradeEnable:   {"Maintenance.Downgrade:Enable", false},
	MaintenanceDowngradeCancel:   {"Maintenance.Downgrade:Cancel", false},

	AuthAuthEnable:           {"Auth.AuthEnable", false},
	AuthAuthDisable:          {"Auth.AuthDisable", false},
	AuthAuthStatus:           {"Auth.AuthStatus", false},
	AuthAuthenticate:         {"Auth.Authenticate", false},
	AuthUserAdd:              {"Auth.UserAdd", false},
	AuthUserGet:              {"Auth.UserGet", false},
	AuthUserList:             {"Auth.UserList", false},
	AuthUserDelete:           {"Auth.UserDelete", false},
	AuthUserChangePassword:   {"Auth.UserChangePassword", false},
	AuthUserGrantRole:        {"Auth.UserGrantRole", false},
	AuthUserRevokeRole:       {"Auth.UserRevokeRole", false},
	AuthRoleAdd:              {"Auth.RoleAdd", false},
	AuthRoleGet:              {"Auth.RoleGet", false},
	AuthRoleList:             {"Auth.RoleList", false},
	AuthRoleDelete:           {"Auth.RoleDelete", false},
	AuthRoleGrantPermission:  {"Auth.RoleGrantPermission", false},
	AuthRoleRevokePermission: {"Auth.RoleRevokePermission", false},

	HealthCheck: {"Health.Check", false},
	HealthList:  {"Health.List", false},
	HealthWatch: {"Health.Watch", false},

	HTTPHealth:  {"HTTP.Health", false},
	HTTPMetrics: {"HTTP.Metrics", false},
	HTTPVersion: {"HTTP.Version", false},
	HTTPDebug:   {"HTTP.Debug", false},

	SealStatus:     {"Seal.Status", false},
	SealCount:      {"Seal.Count", false},
	SealPhase:      {"Seal.Phase", false},
	SealRotate:     {"Seal.Rotate", false},
	SealRetire:     {"Seal.Retire", false},
	SealReseal:     {"Seal.Reseal", false},
	SealQuarantine: {"Seal.Quarantine", false},
	SealBackups:    {"Seal.Backups", false},
	RingExport:     {"Ring.Export", false},
}

// String is the action's name in policies, logs and metrics.
func (a Action) String() string {
	if a == NoAction || a >= actionCount {
		return fmt.Sprintf("Action(%d)", uint8(a))
	}
	return actions[a].name
}

// Keyed reports whether the action is judged on a key range.
func (a Action) Keyed() bool { return a < actionCount && actions[a].keyed }

// Actions returns every Action in a fixed order.
func Actions() []Action {
	all := make([]Action, 0, actionCount-1)
	for a := NoAction + 1; a < actionCount; a++ {
		all = append(all, a)
	}
	return all
}

// ActionCount is one more than the highest Action, for tables indexed by it.
const ActionCount = int(actionCount)

// MatchActions returns the actions that a pattern of a policy names: a full name
// ("KV.Range"), an RPC whose parts are actions of their own ("Maintenance.Alarm",
// "KV.Txn"), a service ("Lease.*") or everything ("*"). It returns nil for a name
// that is none of these.
func MatchActions(pattern string) []Action {
	var out []Action
	service, wild := strings.CutSuffix(pattern, ".*")
	for _, a := range Actions() {
		name := a.String()
		rpc, _, _ := strings.Cut(name, ":")
		svc, _, _ := strings.Cut(name, ".")
		if pattern == "*" || pattern == name || pattern == rpc || wild && service == svc {
			out = append(out, a)
		}
	}
	return out
}
