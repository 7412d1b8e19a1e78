package difftest

import "google.golang.org/protobuf/reflect/protoreflect"

// rule says how one field of the API differs between two etcds that did the same.
type rule uint8

const (
	plain rule = iota // equal, bit for bit

	revision  // a point in history: shifted by B's own writes, see revisions
	headerRev // the newest revision at the time; B may be ahead by its own writes
	leaseID   // chosen by the client, or mapped when the server chose it
	memberID  // each etcd has its own
	clusterID
	authRev // counts from where the run started
	urls    // own addresses differ

	present // differs, but is set on both or on neither (a token, a size)
	between // a remaining time to live: near enough
	ignored // says nothing (which raft term, which index)
	unorder // a repeated field without an order: sorted first
	hash    // equal only where the stored bytes are
	alarms  // texts that print member IDs, in no order
)

// rules lists every field that is not plain. TestEveryTellingFieldHasARule walks
// the descriptors for names that smell of identity, so that a field which a
// later etcd adds is judged by a person before it is compared.
var rules = map[protoreflect.FullName]rule{
	"etcdserverpb.ResponseHeader.cluster_id": clusterID,
	"etcdserverpb.ResponseHeader.member_id":  memberID,
	"etcdserverpb.ResponseHeader.revision":   headerRev,
	"etcdserverpb.ResponseHeader.raft_term":  present,

	"mvccpb.KeyValue.create_revision": revision,
	"mvccpb.KeyValue.mod_revision":    revision,
	"mvccpb.KeyValue.lease":           leaseID,

	"etcdserverpb.RangeRequest.revision":            revision,
	"etcdserverpb.RangeRequest.min_mod_revision":    revision,
	"etcdserverpb.RangeRequest.max_mod_revision":    revision,
	"etcdserverpb.RangeRequest.min_create_revision": revision,
	"etcdserverpb.RangeRequest.max_create_revision": revision,
	"etcdserverpb.PutRequest.lease":                 leaseID,
	"etcdserverpb.Compare.create_revision":          revision,
	"etcdserverpb.Compare.mod_revision":             revision,
	"etcdserverpb.Compare.lease":                    leaseID,
	"etcdserverpb.CompactionRequest.revision":       revision,

	"etcdserverpb.WatchCreateRequest.start_revision": revision,
	"etcdserverpb.WatchResponse.compact_revision":    revision,

	"etcdserverpb.LeaseGrantRequest.ID":            leaseID,
	"etcdserverpb.LeaseGrantResponse.ID":           leaseID,
	"etcdserverpb.LeaseRevokeRequest.ID":           leaseID,
	"etcdserverpb.LeaseKeepAliveRequest.ID":        leaseID,
	"etcdserverpb.LeaseKeepAliveResponse.ID":       leaseID,
	"etcdserverpb.LeaseTimeToLiveRequest.ID":       leaseID,
	"etcdserverpb.LeaseTimeToLiveResponse.ID":      leaseID,
	"etcdserverpb.LeaseTimeToLiveResponse.TTL":     between,
	"etcdserverpb.LeaseTimeToLiveResponse.keys":    unorder,
	"etcdserverpb.LeaseStatus.ID":                  leaseID,
	"etcdserverpb.LeaseLeasesResponse.leases":      unorder,
	"etcdserverpb.MemberAddRequest.peerURLs":       urls,
	"etcdserverpb.MemberAddResponse.members":       unorder,
	"etcdserverpb.MemberListResponse.members":      unorder,
	"etcdserverpb.MemberRemoveRequest.ID":          memberID,
	"etcdserverpb.MemberRemoveResponse.members":    unorder,
	"etcdserverpb.MemberUpdateRequest.ID":          memberID,
	"etcdserverpb.MemberUpdateRequest.peerURLs":    urls,
	"etcdserverpb.MemberUpdateResponse.members":    unorder,
	"etcdserverpb.MemberPromoteRequest.ID":         memberID,
	"etcdserverpb.MemberPromoteResponse.members":   unorder,
	"etcdserverpb.Member.ID":                       memberID,
	"etcdserverpb.Member.peerURLs":                 urls,
	"etcdserverpb.Member.clientURLs":               urls,
	"etcdserverpb.MoveLeaderRequest.targetID":      memberID,
	"etcdserverpb.AlarmRequest.memberID":           memberID,
	"etcdserverpb.AlarmMember.memberID":            memberID,
	"etcdserverpb.AlarmResponse.alarms":            unorder,
	"etcdserverpb.StatusResponse.dbSize":           present,
	"etcdserverpb.StatusResponse.dbSizeInUse":      present,
	"etcdserverpb.StatusResponse.leader":           memberID,
	"etcdserverpb.StatusResponse.raftIndex":        present,
	"etcdserverpb.StatusResponse.raftAppliedIndex": present,
	"etcdserverpb.StatusResponse.raftTerm":         present,
	"etcdserverpb.StatusResponse.errors":           alarms,

	"etcdserverpb.HashKVRequest.revision":           revision,
	"etcdserverpb.HashKVResponse.hash":              hash,
	"etcdserverpb.HashKVResponse.compact_revision":  revision,
	"etcdserverpb.HashKVResponse.hash_revision":     headerRev,
	"etcdserverpb.HashResponse.hash":                ignored,
	"etcdserverpb.AuthStatusResponse.authRevision":  authRev,
	"etcdserverpb.AuthenticateResponse.token":       present,
	"etcdserverpb.SnapshotResponse.remaining_bytes": ignored, // read whole, see snapshot
	"etcdserverpb.SnapshotResponse.blob":            ignored,

	// Telling names that are plain all the same.
	"etcdserverpb.PutRequest.ignore_lease":                      plain,
	"etcdserverpb.PutRequest.prev_kv":                           plain,
	"etcdserverpb.WatchCreateRequest.watch_id":                  plain,
	"etcdserverpb.WatchCancelRequest.watch_id":                  plain,
	"etcdserverpb.WatchResponse.watch_id":                       plain,
	"etcdserverpb.LeaseGrantRequest.TTL":                        plain,
	"etcdserverpb.LeaseGrantResponse.TTL":                       plain,
	"etcdserverpb.LeaseKeepAliveResponse.TTL":                   plain, // always the granted one
	"etcdserverpb.LeaseTimeToLiveResponse.grantedTTL":           plain,
	"etcdserverpb.StatusResponse.dbSizeQuota":                   plain,
	"etcdserverpb.AuthUserAddRequest.hashedPassword":            plain,
	"etcdserverpb.AuthUserChangePasswordRequest.hashedPassword": plain,
}
