package guard

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
)

// What a client is told is etcd's own: a denial must not say more about the policy
// than that it denies.
var (
	errPermissionDenied = rpctypes.ErrGRPCPermissionDenied
	errTooManyRequests  = rpctypes.ErrGRPCRequestTooManyRequests
	errTooLarge         = rpctypes.ErrGRPCRequestTooLarge
)

func unavailable(reason string) error {
	return status.Error(codes.Unavailable, "etcdguard: "+reason)
}

// deny is the answer to an access that no rule allows.
func (g *Guard) deny(c *caller, action etcdapi.Action, keys etcdapi.Range) error {
	g.count(c, action, denied)
	g.denials.log("denied", c, action, keys,
		func() string { return c.policy.Suggest(c.who, action, keys) })
	return errPermissionDenied
}

// observe records an access that is let through only because the policy, or the
// rule, observes.
func (g *Guard) observe(c *caller, action etcdapi.Action, keys etcdapi.Range) {
	g.count(c, action, observed)
	g.denials.log("would be denied", c, action, keys,
		func() string { return c.policy.Suggest(c.who, action, keys) })
}

func (g *Guard) denyReserved(r *Request) error {
	r.turnedDown(audit.NotLet, "keys of etcdguard's own")
	g.count(r.caller, r.action, denied)
	g.denials.log("denied", r.caller, r.action, etcdapi.Range{},
		func() string { return etcdapi.ErrReserved.Error() + "; no rule can allow them" })
	return errPermissionDenied
}

func (g *Guard) denyCompaction(r *Request, revision int64, age time.Duration) error {
	r.turnedDown(audit.NotLet, "the revision is younger than "+age.String())
	g.count(r.caller, r.action, denied)
	g.denials.log("denied", r.caller, r.action, etcdapi.Range{}, func() string {
		return fmt.Sprintf("revision %d is younger than %v; wait, or lower compactionAge of the caller's rule", revision, age)
	})
	return errPermissionDenied
}

// postponeCompaction is the answer of a member that was away when the revision was
// made, or came to be old: not no, but not yet.
func (g *Guard) postponeCompaction(r *Request, revision int64, age time.Duration) error {
	r.turnedDown(audit.Postponed, "it is not known here how old the revision is")
	g.count(r.caller, r.action, unsureYet)
	g.denials.log("postponed", r.caller, r.action, etcdapi.Range{}, func() string {
		return fmt.Sprintf("this member was not there to see how old revision %d is; within %v it will know, other members may know now", revision, age)
	})
	return unavailable("this member does not know yet how old the revision is; try another member, or later")
}

// limited is the answer to what is allowed, but is too much.
func (g *Guard) limited(r *Request, limit string, answer error) error {
	r.turnedDown(audit.Limited, limit)
	g.count(r.caller, r.action, overLimit)
	g.denials.log("over a limit", r.caller, r.action, etcdapi.Range{},
		func() string { return "raise the limit \"" + limit + "\" of caller " + r.caller.account.name })
	return answer
}

// refuse is the answer to what the guard does not understand.
func (g *Guard) refuse(r *Request, what string) error {
	r.turnedDown(audit.Refused, "the request has "+what)
	g.count(r.caller, r.action, refused)
	g.denials.log("refused", r.caller, r.action, etcdapi.Range{},
		func() string { return "the request has " + what })
	return status.Errorf(codes.Unimplemented, "etcdguard: %s has %s", r.method.FullName, what)
}

// longestMethod bounds what of a method's name is logged and answered: gRPC takes
// names of megabytes.
const longestMethod = 256

// refuseMethod is the answer to an RPC that is not etcd's, or is one that would
// call etcd behind the guard's back (Lock, Election): in gRPC's own words for what
// no server has.
func (g *Guard) refuseMethod(c *caller, fullMethod string) error {
	g.count(c, etcdapi.NoAction, refused)
	if len(fullMethod) > longestMethod {
		fullMethod = fullMethod[:longestMethod] + "…"
	}
	g.denials.log("refused", c, etcdapi.NoAction, etcdapi.Range{},
		func() string { return "the RPC " + strconv.Quote(fullMethod) + " is not served" })
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if etcdapi.HasService(service) {
		return status.Errorf(codes.Unimplemented, "unknown method %v for service %v", method, service)
	}
	return status.Errorf(codes.Unimplemented, "unknown service %v", service)
}

// denialLog writes denials, but no more than a disk stands: a caller that is
// denied ten thousand times a second must not fill it, nor hide the one denial of
// another. So each account has a share, and all together have a bound.
type denialLog struct {
	to         *slog.Logger
	bound      *rate.Limiter
	suppressed atomic.Int64
}

func newDenialLog(to *slog.Logger) *denialLog {
	return &denialLog{to: to, bound: rate.NewLimiter(100, 1000)}
}

// newShare is the part of the denial log that one account may fill.
func newShare() *rate.Limiter { return rate.NewLimiter(10, 100) }

func (l *denialLog) log(what string, c *caller, action etcdapi.Action, keys etcdapi.Range, fix func() string) {
	if !c.account.denials.Allow() || !l.bound.Allow() {
		l.suppressed.Add(1)
		return
	}
	l.to.LogAttrs(context.Background(), slog.LevelWarn, "request "+what,
		slog.String("caller", c.who.String()),
		slog.String("known-as", c.account.name),
		slog.String("peer", c.who.Peer),
		slog.String("action", action.String()),
		slog.String("range", keys.String()),
		slog.String("fix", fix()),
		slog.Int64("suppressed", l.suppressed.Swap(0)),
	)
}
