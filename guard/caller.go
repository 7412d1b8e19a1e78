package guard

import (
	"context"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/policy"
)

// caller is a connection's identity and what one policy says about it. It is kept
// with the connection, so that a request costs a pointer and not a certificate.
type caller struct {
	who     policy.Caller
	policy  *policy.Policy
	subject *policy.Subject
	limits  policy.Limits
	account *account
	record  *audit.Caller // how the audit log names it
}

// account is what all connections of one of the policy's callers use together. It
// outlives policies: what began under one ends under another.
type account struct {
	name     string
	inFlight atomic.Int64
	watchers atomic.Int64
	counters counters
	leases   checkedLeases
	denials  *rate.Limiter // its share of the denial log
}

// begin takes a place among the requests in flight; most 0 is no bound.
func (a *account) begin(most int) bool {
	if n := a.inFlight.Add(1); most > 0 && n > int64(most) {
		a.inFlight.Add(-1)
		return false
	}
	return true
}

func (a *account) done() { a.inFlight.Add(-1) }

// callerOf finds who asks. Every connection comes through a certs.Door; one that
// did not is a defect here, and is refused.
func (g *Guard) callerOf(ctx context.Context) (*caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, errNoIdentity
	}
	addr, ok := p.Addr.(*certs.Addr)
	if !ok {
		return nil, errNoIdentity
	}
	return g.callerAt(addr.Peer), nil
}

var errNoIdentity = status.Error(codes.Internal, "etcdguard: a connection without an identity")

func (g *Guard) callerAt(p *certs.Peer) *caller {
	inForce := g.policy.Load()
	if c, ok := p.Memo().(*caller); ok && c.policy == inForce {
		return c
	}
	who := policy.CallerOf(p.Leaf(), p.Address.String())
	subject := inForce.Subject(who)
	c := &caller{
		who:     who,
		policy:  inForce,
		subject: subject,
		limits:  subject.Limits(),
		account: g.accountOf(subject.Name()),
	}
	if g.audit != nil {
		c.record = recordOf(who, subject.Name())
	}
	p.SetMemo(c)
	return c
}

// recordOf is a caller as the audit log has it.
func recordOf(who policy.Caller, name string) *audit.Caller {
	return audit.NewCaller(audit.Identity{
		Name: name, CN: who.CN, O: who.O, DNS: who.DNS, URI: who.URI, IP: who.IP,
		Serial: who.Serial, PublicKeySHA256: who.PublicKeySHA256, Peer: who.Peer,
	})
}

func (g *Guard) accountOf(name string) *account {
	if a, ok := g.accounts.Load(name); ok {
		return a.(*account)
	}
	a, _ := g.accounts.LoadOrStore(name, &account{name: name, denials: newShare()})
	return a.(*account)
}

// gatewayMark is the metadata by which etcd knows its own JSON gateway. From a
// client it only makes etcd forget the certificate's name (server/auth/store.go).
const (
	gatewayMark   = "grpcgateway-accept"
	gatewayPrefix = "grpcgateway-"
)

// withoutGatewayMetadata drops what the gateway alone may say. The one key that
// etcd reads is looked for first: copying the metadata of every request costs more
// than judging it.
func withoutGatewayMetadata(ctx context.Context) context.Context {
	if metadata.ValueFromIncomingContext(ctx, gatewayMark) == nil {
		return ctx
	}
	md, _ := metadata.FromIncomingContext(ctx) // a copy
	for key := range md {
		if strings.HasPrefix(key, gatewayPrefix) {
			delete(md, key)
		}
	}
	return metadata.NewIncomingContext(ctx, md)
}
