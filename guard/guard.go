package guard

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/policy"
)

// Etcd is what the guard asks of the server that it stands before.
type Etcd interface {
	// Header is the response header that the server would fill in now: for the
	// answers that the guard gives itself, and to know the head revision.
	Header() *pb.ResponseHeader
	// LeaseKeys are the keys attached to a lease, as the leader knows them now; none
	// if the lease does not exist.
	LeaseKeys(ctx context.Context, lease int64) ([][]byte, error)
	// ClientLeases is etcd's answer to LeaseLeases for the user of ctx as it would be if
	// etcdguard had no leases of its own. Its errors are etcd's.
	ClientLeases(ctx context.Context) (*pb.LeaseLeasesResponse, error)
	// HasMember reports whether the cluster has a member with this ID.
	HasMember(id uint64) bool
	// EntryHeader is like the header that the server would give the raft log's entry of
	// a request that comes with ctx: as many bytes long.
	EntryHeader(ctx context.Context) *pb.RequestHeader
}

// Config is what a Guard needs.
type Config struct {
	// Policy is the first policy in force. Required.
	Policy *policy.Policy
	// Etcd is the server behind the guard. Required.
	Etcd Etcd
	// Log takes denials and what the guard does by itself. Required.
	Log *slog.Logger
	// Metrics counts decisions. Required.
	Metrics *Metrics
	// Ring seals values on their way in and opens them on their way out; nil: values
	// pass as they are.
	Ring *keyring.Ring
	// Audit records every request; nil: none is recorded.
	Audit *audit.Log
	// Limits are those that clients are held to. With a Ring, the server behind the
	// guard has to have Limits.Server of them, since sealing makes requests larger.
	// The zero Limits are left to the server.
	Limits Limits
	// HeadHistory is the file that keeps, across restarts, when which revision was
	// the head; policy rules that bound compaction by age need it. "" keeps it in
	// memory: after a restart only HeadOnDisk is known.
	HeadHistory string
	// HeadOnDisk is the head of the data as the member found it, and when that was
	// written; the zero Head if there was none.
	HeadOnDisk Head
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Guard judges every request of one server.
type Guard struct {
	etcd    Etcd
	log     *slog.Logger
	metrics *Metrics
	now     func() time.Time
	heads   *heads
	denials *denialLog
	ring    *keyring.Ring
	fanout  *fanout
	audit   *audit.Log
	// unreadables bounds the log of values that do not open.
	unreadables *rate.Limiter

	limits Limits

	policy   atomic.Pointer[policy.Policy]
	accounts sync.Map // name of a policy's caller → *account

	ready    atomic.Bool
	streams  streams
	draining atomic.Pointer[string] // why; nil: not
	shut     atomic.Pointer[func() string]
}

// New makes a Guard. It is not ready until SetReady.
func New(c Config) *Guard {
	if c.Now == nil {
		c.Now = time.Now
	}
	g := &Guard{
		etcd:    c.Etcd,
		log:     c.Log,
		metrics: c.Metrics,
		now:     c.Now,
		heads:   newHeads(c.HeadHistory, c.HeadOnDisk, c.Now, c.Log),
		denials: newDenialLog(c.Log),
		ring:    c.Ring,
		audit:   c.Audit,
		fanout:  newFanout(c.Ring, c.Metrics.opened.Inc),

		unreadables: newShare(),

		limits: c.Limits,
	}
	g.policy.Store(c.Policy)
	return g
}

// Run keeps the history of head revisions until ctx ends.
func (g *Guard) Run(ctx context.Context) { g.heads.run(ctx, g.etcd) }

// Policy is the policy in force.
func (g *Guard) Policy() *policy.Policy { return g.policy.Load() }

// SetPolicy puts p in force: for the next request of every connection, and at
// once for the watches that are open, since those outlive any policy.
func (g *Guard) SetPolicy(p *policy.Policy) {
	g.policy.Store(p)
	for _, s := range g.streams.all() {
		s.recheck()
	}
}

// SetReady says whether requests can be served; what it says is what
// grpc.health.v1, /health and /readyz answer beyond etcd's own opinion.
func (g *Guard) SetReady(ready bool) {
	g.ready.Store(ready)
	for _, s := range g.streams.all() {
		s.healthChanged()
	}
}

// Drain makes the guard unready and ends every stream, with the reason as its
// status, so that clients go to another member at once instead of waiting for a
// connection to break.
func (g *Guard) Drain(reason string) {
	g.draining.Store(&reason)
	g.SetReady(false)
	for _, s := range g.streams.all() {
		s.end(unavailable(reason))
	}
}

// Request is one message of a client on its way to etcd.
type Request struct {
	method  etcdapi.Method
	action  etcdapi.Action
	message proto.Message
	caller  *caller
	began   time.Time
	record  *record // nil: nothing is recorded

	leasesLookedUp int
}

// Unary is the whole path of a request with one answer.
func (g *Guard) Unary(ctx context.Context, message any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	begin := g.now()
	ctx = withoutGatewayMetadata(ctx)
	r, err := g.receive(ctx, info.FullMethod, message)
	if err != nil {
		return nil, err
	}
	defer r.done()
	// Before the stages: judging a large Txn, or looking up its leases, takes time too.
	if !r.caller.account.begin(r.caller.limits.InFlight) {
		return nil, g.recordDenied(ctx, r, g.limited(r, "requests in flight", errTooManyRequests))
	}
	defer r.caller.account.done()
	if err := g.judge(ctx, r); err != nil {
		return nil, g.recordDenied(ctx, r, err)
	}

	g.metrics.overhead.Observe(g.now().Sub(begin).Seconds())
	answer, err := g.serve(ctx, r, next)
	if err == nil {
		answer, err = g.answer(ctx, r, answer)
	}
	if err := g.recordAnswer(ctx, r, answer, err); err != nil {
		return nil, err
	}
	return onTheWire(answer), nil
}

// receive finds out who asks for what.
func (g *Guard) receive(ctx context.Context, fullMethod string, message any) (*Request, error) {
	c, err := g.callerOf(ctx)
	if err != nil {
		return nil, err
	}
	method, known := etcdapi.LookupMethod(fullMethod)
	if !known {
		return nil, g.recordMethod(ctx, c, fullMethod, g.refuseMethod(c, fullMethod))
	}
	m, ok := message.(proto.Message)
	if !ok {
		return nil, g.recordMethod(ctx, c, fullMethod, g.refuseMethod(c, fullMethod))
	}
	return g.newRequest(method, m, c), nil
}

// answer is the way back of a request with one answer.
func (g *Guard) answer(ctx context.Context, r *Request, answer any) (any, error) {
	switch a := answer.(type) {
	case *pb.LeaseTimeToLiveResponse:
		if err := g.judgeLeaseKeysShown(ctx, r, a); err != nil {
			return nil, err
		}
	case *pb.LeaseLeasesResponse:
		etcdapi.WithoutReservedLeases(a)
	}
	return g.healthAnswer(answer), nil
}
