package guard

import (
	"context"
	"strconv"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/policy"
)

// record is what the audit log is told of one request: filled by the stages as they
// judge, so that what is written is what was decided.
type record struct {
	event    audit.Event
	answer   audit.Answer
	level    policy.Level
	accesses [4]audit.Access // room for the common request
	intended bool            // an intent is in the log, and owed an outcome
	decided  bool
}

// records are used again: one has the size of ten requests.
var records = sync.Pool{New: func() any { return new(record) }}

// newRequest is one message of a client; whoever is done with it calls done, if nobody
// else has it.
func (g *Guard) newRequest(method etcdapi.Method, m proto.Message, c *caller) *Request {
	r := &Request{method: method, action: method.Action, message: m, caller: c, began: g.now()}
	if m != nil {
		r.action = method.Of(m)
	}
	if g.audit != nil {
		r.record = records.Get().(*record)
	}
	return r
}

func (r *Request) done() {
	if r.record != nil {
		*r.record = record{} // it would keep the request's memory
		records.Put(r.record)
		r.record = nil
	}
}

// judged adds one access and what was decided about it.
func (r *Request) judged(a audit.Access, d policy.Decision) {
	if r.record == nil {
		return
	}
	e := &r.record.event
	switch {
	case !d.Allowed:
		e.Decision = audit.NotLet
	case d.Observed:
		e.Decision = audit.Observed
	case e.Decision == "":
		e.Decision = audit.Allowed
	}
	if !r.record.decided {
		e.Rule, r.record.level, r.record.decided = d.Rule, d.Audit, true
	}
	r.record.level = min(r.record.level, d.Audit) // the most that a rule wants
	if !a.Action.Keyed() {
		return // Event.Action says it
	}
	if e.Access == nil {
		e.Access = r.record.accesses[:0]
	}
	a.Rule = d.Rule
	e.Access = append(e.Access, a)
}

// turnedDown says why a request goes no further.
func (r *Request) turnedDown(d audit.Decision, reason string) {
	if r.record != nil {
		r.record.event.Decision, r.record.event.Reason = d, reason
	}
}

// onlyObserved says that the request goes on because the policy observes.
func (r *Request) onlyObserved() {
	if r.record != nil {
		r.record.event.Decision = audit.Observed
	}
}

// recordIntent is the last stage: from here on etcd is asked. What changes nothing is
// recorded once it is answered, but not served while it could not be.
func (g *Guard) recordIntent(_ context.Context, r *Request) error {
	if g.audit == nil {
		return nil
	}
	if servedUnrecorded(r.action) {
		return nil
	}
	if !intends(r.action, r.message) {
		return unrecordable(g.audit.Ready())
	}
	e := &r.record.event
	e.Kind, e.Caller, e.Action = audit.Intent, r.caller.record, r.action
	r.describe()
	r.record.answer.Bytes = valueBytes(r.message)
	seq, err := g.audit.Intend(e)
	if err != nil {
		return unrecordable(err)
	}
	e.Of, r.record.intended = seq, true
	return nil
}

// recordDenied is the way of a request that the stages turned down.
func (g *Guard) recordDenied(ctx context.Context, r *Request, answer error) error {
	if g.audit == nil {
		return answer
	}
	e := &r.record.event
	e.Kind, e.Caller, e.Action = audit.Denied, r.caller.record, r.action
	if e.Decision == "" || e.Decision == audit.Allowed {
		e.Decision = audit.Refused
	}
	r.describe()
	r.record.answer.Code = codeOf(answer)
	e.Answer = &r.record.answer
	if err := g.audit.Settle(ctx, e); err != nil {
		return unrecordable(err)
	}
	return answer
}

// recordAnswer puts on record how a request ended, before its answer leaves.
func (g *Guard) recordAnswer(ctx context.Context, r *Request, answer any, failure error) error {
	if g.audit == nil {
		return failure
	}
	e, a := &r.record.event, &r.record.answer
	a.Code = codeOf(failure)
	a.Micros = g.now().Sub(r.began).Microseconds()
	if failure == nil {
		touched(a, answer)
	}
	e.Answer = a
	switch {
	case r.record.intended:
		*e = audit.Event{Kind: audit.Outcome, Of: e.Of, Answer: a}
		if err := g.audit.Conclude(ctx, e); err != nil {
			return status.Error(codes.Unavailable, "etcdguard: outcome unknown: "+err.Error())
		}
	case e.Decision == audit.NotLet: // the answer itself was judged
		e.Kind, e.Caller, e.Action = audit.Denied, r.caller.record, r.action
		r.describe()
		if err := g.audit.Settle(ctx, e); err != nil {
			return unrecordable(err)
		}
	case r.record.level != policy.Full && e.Decision == audit.Allowed:
		g.audit.Count(r.caller.record, r.record.level.String(), r.action, a)
	default:
		e.Kind, e.Caller, e.Action = audit.Read, r.caller.record, r.action
		r.describe()
		if err := g.audit.Record(ctx, e); err != nil && !servedUnrecorded(r.action) {
			return unrecordable(err)
		}
	}
	return failure
}

// servedUnrecorded are the requests that are answered while the log can't be written:
// whoever asks how the member is has to be told.
func servedUnrecorded(a etcdapi.Action) bool {
	switch a {
	case etcdapi.HealthCheck, etcdapi.HealthList, etcdapi.HealthWatch, etcdapi.HTTPHealth, etcdapi.HTTPMetrics:
		return true
	}
	return false
}

// codeOf is the name of the status that gRPC makes of an error.
func codeOf(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Code().String()
	}
	return status.FromContextError(err).Code().String()
}

func unrecordable(err error) error {
	if err == nil {
		return nil
	}
	return unavailable("the audit log can't be written, and this member serves nothing that is not on record: " + err.Error())
}

// recordMethod records an RPC that is not served.
func (g *Guard) recordMethod(ctx context.Context, c *caller, name string, answer error) error {
	if g.audit == nil {
		return answer
	}
	e := audit.Event{Kind: audit.Denied, Caller: c.record, Decision: audit.Refused,
		Reason: "the RPC " + strconv.Quote(name) + " is not served", Answer: &audit.Answer{Code: codeOf(answer)}}
	if err := g.audit.Settle(ctx, &e); err != nil {
		return unrecordable(err)
	}
	return answer
}

// intends reports whether a request is recorded before etcd is asked: whatever changes
// something, and what an administrator does.
func intends(action etcdapi.Action, m proto.Message) bool {
	switch action {
	case etcdapi.KVTxn:
		t, ok := m.(*pb.TxnRequest)
		return !ok || !etcdapi.ReadsOnly(t)
	case etcdapi.KVRange, etcdapi.KVRangeStream, etcdapi.WatchWatch,
		etcdapi.LeaseKeepAlive, etcdapi.LeaseTimeToLive, etcdapi.LeaseLeases,
		etcdapi.ClusterMemberList, etcdapi.MaintenanceAlarmGet, etcdapi.MaintenanceStatus,
		etcdapi.MaintenanceHash, etcdapi.MaintenanceHashKV, etcdapi.MaintenanceDowngradeValidate,
		etcdapi.AuthAuthStatus, etcdapi.AuthUserGet, etcdapi.AuthUserList,
		etcdapi.AuthRoleGet, etcdapi.AuthRoleList,
		etcdapi.HealthCheck, etcdapi.HealthList, etcdapi.HealthWatch,
		etcdapi.HTTPHealth, etcdapi.HTTPMetrics, etcdapi.HTTPVersion,
		etcdapi.SealStatus, etcdapi.SealCount:
		return false
	}
	return true // what is new is a write until somebody says otherwise
}

// describe adds what is asked for besides keys; the options of those stand in their
// accesses.
func (r *Request) describe() {
	e := &r.record.event
	switch m := r.message.(type) {
	case *pb.CompactionRequest:
		e.Revision, e.Physical = m.Revision, m.Physical
	case *pb.LeaseGrantRequest:
		e.Lease = m.ID
	case *pb.LeaseRevokeRequest:
		e.Lease = m.ID
	case *pb.LeaseTimeToLiveRequest:
		e.Lease = m.ID
	default:
		e.Target = target(m)
	}
}

func rangeAccess(action etcdapi.Action, m *pb.RangeRequest) audit.Access {
	return audit.Access{Action: action, Keys: etcdapi.NewRange(m.Key, m.RangeEnd),
		Limit: m.Limit, Revision: m.Revision,
		Serializable: m.Serializable, KeysOnly: m.KeysOnly, CountOnly: m.CountOnly}
}

func putAccess(action etcdapi.Action, m *pb.PutRequest) audit.Access {
	return audit.Access{Action: action, Keys: etcdapi.Key(m.Key),
		Lease: m.Lease, PrevKV: m.PrevKv, KeepsOldValue: m.IgnoreValue}
}

// target is what an administrative request is about: no password is among it, and no
// token. Requests that are not here have none.
func target(m proto.Message) string {
	switch m := m.(type) {
	case *pb.MemberAddRequest:
		return strings.Join(m.PeerURLs, ",")
	case *pb.MemberRemoveRequest:
		return hex(m.ID)
	case *pb.MemberUpdateRequest:
		return hex(m.ID) + " " + strings.Join(m.PeerURLs, ",")
	case *pb.MemberPromoteRequest:
		return hex(m.ID)
	case *pb.MoveLeaderRequest:
		return hex(m.TargetID)
	case *pb.AlarmRequest:
		return m.Alarm.String() + " " + hex(m.MemberID)
	case *pb.DowngradeRequest:
		return m.Version
	case *pb.AuthenticateRequest:
		return m.Name
	case *pb.AuthUserAddRequest:
		return m.Name
	case *pb.AuthUserGetRequest:
		return m.Name
	case *pb.AuthUserDeleteRequest:
		return m.Name
	case *pb.AuthUserChangePasswordRequest:
		return m.Name
	case *pb.AuthUserGrantRoleRequest:
		return m.User + " " + m.Role
	case *pb.AuthUserRevokeRoleRequest:
		return m.Name + " " + m.Role
	case *pb.AuthRoleAddRequest:
		return m.Name
	case *pb.AuthRoleGetRequest:
		return m.Role
	case *pb.AuthRoleDeleteRequest:
		return m.Role
	case *pb.AuthRoleGrantPermissionRequest:
		p := m.GetPerm()
		return m.Name + " " + p.GetPermType().String() + " " + etcdapi.NewRange(p.GetKey(), p.GetRangeEnd()).String()
	case *pb.AuthRoleRevokePermissionRequest:
		return m.Role + " " + etcdapi.NewRange(m.Key, m.RangeEnd).String()
	}
	return ""
}

// hex is how etcdctl writes ids.
func hex(id uint64) string { return strconv.FormatUint(id, 16) }
