package difftest

import "strings"

// unreachable lists what no run against a cluster of one can send or get, with
// the reason. Everything else that the descriptors know must come up in a run of
// coverageSteps; TestUnreachableNamesExist holds that no entry is stale.
var unreachable = map[string]string{
	"Cluster.MemberPromote OK": "takes a learner that has caught up, so a second server",

	"Cluster.MemberPromote etcdserverpb.MemberPromoteResponse.header":  "never succeeds",
	"Cluster.MemberPromote etcdserverpb.MemberPromoteResponse.members": "never succeeds",
	"Cluster.MemberPromote etcdserverpb.ResponseHeader.cluster_id":     "never succeeds",
	"Cluster.MemberPromote etcdserverpb.ResponseHeader.member_id":      "never succeeds",
	"Cluster.MemberPromote etcdserverpb.ResponseHeader.revision":       "never succeeds",
	"Cluster.MemberPromote etcdserverpb.ResponseHeader.raft_term":      "never succeeds",
	"Cluster.MemberPromote etcdserverpb.Member.ID":                     "never succeeds",
	"Cluster.MemberPromote etcdserverpb.Member.name":                   "never succeeds",
	"Cluster.MemberPromote etcdserverpb.Member.peerURLs":               "never succeeds",
	"Cluster.MemberPromote etcdserverpb.Member.clientURLs":             "never succeeds",
	"Cluster.MemberPromote etcdserverpb.Member.isLearner":              "never succeeds",

	"Cluster.MemberAdd etcdserverpb.ResponseHeader.revision":    "etcd leaves it out",
	"Cluster.MemberList etcdserverpb.ResponseHeader.revision":   "etcd leaves it out",
	"Cluster.MemberRemove etcdserverpb.ResponseHeader.revision": "etcd leaves it out",
	"Cluster.MemberUpdate etcdserverpb.ResponseHeader.revision": "etcd leaves it out",
	"Cluster.MemberRemove etcdserverpb.Member.isLearner":        "etcd allows one learner, which is the one removed",

	"Health.Check grpc.health.v1.HealthCheckResponse.status=NOT_SERVING":     "only while etcd defragments",
	"Health.Check grpc.health.v1.HealthCheckResponse.status=SERVICE_UNKNOWN": "Check answers with an error",
	"Health.Watch grpc.health.v1.HealthCheckResponse.status=NOT_SERVING":     "only while etcd defragments",
	"Health.List error":  "nothing refuses it",
	"Health.Watch error": "nothing refuses it",

	"Lease.LeaseGrant etcdserverpb.LeaseGrantResponse.error": "etcd does not use it",

	"Maintenance.Defragment etcdserverpb.DefragmentResponse.header": "etcd leaves it out",
	"Maintenance.Defragment etcdserverpb.ResponseHeader.cluster_id": "etcd leaves it out",
	"Maintenance.Defragment etcdserverpb.ResponseHeader.member_id":  "etcd leaves it out",
	"Maintenance.Defragment etcdserverpb.ResponseHeader.revision":   "etcd leaves it out",
	"Maintenance.Defragment etcdserverpb.ResponseHeader.raft_term":  "etcd leaves it out",
	"Maintenance.MoveLeader etcdserverpb.MoveLeaderResponse.header": "etcd leaves it out",
	"Maintenance.MoveLeader etcdserverpb.ResponseHeader.cluster_id": "etcd leaves it out",
	"Maintenance.MoveLeader etcdserverpb.ResponseHeader.member_id":  "etcd leaves it out",
	"Maintenance.MoveLeader etcdserverpb.ResponseHeader.revision":   "etcd leaves it out",
	"Maintenance.MoveLeader etcdserverpb.ResponseHeader.raft_term":  "etcd leaves it out",
	"Maintenance.Snapshot etcdserverpb.SnapshotResponse.header":     "etcd leaves it out",
	"Maintenance.Snapshot etcdserverpb.ResponseHeader.cluster_id":   "etcd leaves it out",
	"Maintenance.Snapshot etcdserverpb.ResponseHeader.member_id":    "etcd leaves it out",
	"Maintenance.Snapshot etcdserverpb.ResponseHeader.revision":     "etcd leaves it out",
	"Maintenance.Snapshot etcdserverpb.ResponseHeader.raft_term":    "etcd leaves it out",

	"Maintenance.Snapshot etcdserverpb.SnapshotResponse.remaining_bytes": "a snapshot is judged whole",
	"Maintenance.Snapshot etcdserverpb.SnapshotResponse.blob":            "a snapshot is judged whole",

	"Maintenance.Status etcdserverpb.StatusResponse.isLearner":    "the one member votes",
	"Maintenance.Status etcdserverpb.DowngradeInfo.enabled":       "a downgrade proceeds at a time of its own, so none is begun",
	"Maintenance.Status etcdserverpb.DowngradeInfo.targetVersion": "a downgrade proceeds at a time of its own, so none is begun",
}

// wantErrors are error answers that a run must provoke: code and text, and the
// reasons that watchers are refused for.
var wantErrors = strings.Split(strings.TrimSpace(`
DataLoss etcdserver: corrupt cluster
FailedPrecondition etcdserver: Peer URLs already exists
FailedPrecondition etcdserver: authentication is not enabled
FailedPrecondition etcdserver: bad leader transferee
FailedPrecondition etcdserver: can only promote a learner member which is in sync with leader
FailedPrecondition etcdserver: lease already exists
FailedPrecondition etcdserver: permission is not granted to the role
FailedPrecondition etcdserver: role is not granted to the user
FailedPrecondition etcdserver: role name already exists
FailedPrecondition etcdserver: role name not found
FailedPrecondition etcdserver: root user does not exist
FailedPrecondition etcdserver: too many learner members in cluster
FailedPrecondition etcdserver: user name already exists
FailedPrecondition etcdserver: user name not found
InvalidArgument etcdserver: authentication failed, invalid user ID or password
InvalidArgument etcdserver: duplicate key given in txn request
InvalidArgument etcdserver: given member URLs are invalid
InvalidArgument etcdserver: invalid auth management
InvalidArgument etcdserver: invalid downgrade target version
InvalidArgument etcdserver: invalid sort option
InvalidArgument etcdserver: key is not provided
InvalidArgument etcdserver: key not found
InvalidArgument etcdserver: lease is provided
InvalidArgument etcdserver: permission not given
InvalidArgument etcdserver: request is too large
InvalidArgument etcdserver: role name is empty
InvalidArgument etcdserver: too many operations in txn request
InvalidArgument etcdserver: user name is empty
InvalidArgument etcdserver: value is provided
InvalidArgument etcdserver: wrong downgrade target version format
NotFound etcdserver: member not found
NotFound etcdserver: requested lease not found
NotFound unknown service
OutOfRange etcdserver: mvcc: required revision has been compacted
OutOfRange etcdserver: mvcc: required revision is a future revision
OutOfRange etcdserver: too large lease TTL
PermissionDenied etcdserver: permission denied
ResourceExhausted etcdserver: mvcc: database space exceeded
Unauthenticated etcdserver: invalid auth token
Unimplemented RangeStream does not support custom sort orders
Unimplemented RangeStream does not support revision filters
Unimplemented malformed method name: "/nothing"
Unimplemented unknown method Nothing for service etcdserverpb.KV
Unimplemented unknown service etcdserverpb.Nothing
Unknown bcrypt: password length exceeds 72 bytes
watcher refused: etcdserver: mvcc: required revision has been compacted
watcher refused: mvcc: duplicate watch ID provided on the WatchStream
watcher refused: mvcc: watcher range is empty
watcher refused: rpc error: code = PermissionDenied desc = etcdserver: permission denied
watcher refused: rpc error: code = Unauthenticated desc = etcdserver: invalid auth token
`), "\n")
