package guard

import (
	"context"
	"errors"
	"net/http"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/etcdapi"
)

// adminCall is a call of the administration under way. It can wait for members for as
// long as a stream lasts, and so outlive the policy that allowed it, too.
type adminCall struct {
	*stream
	peer   *certs.Peer
	action etcdapi.Action
}

// allowsAdmin says who may make calls of the administration: whom a rule names. A
// policy observes so that clients that it forgot go on working. There are none of the
// administration yet: it is never open for want of a rule.
func allowsAdmin(c *caller, action etcdapi.Action) bool {
	d := c.subject.Decide(action, etcdapi.Range{})
	return d.Allowed && !d.Observed
}

// serveAdmin serves a call that the policy under which c was judged allows.
func (g *Guard) serveAdmin(next http.Handler, w http.ResponseWriter, r *http.Request, p *certs.Peer, c *caller, action etcdapi.Action) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	call := &adminCall{stream: &stream{guard: g, ctx: ctx, cancel: cancel}, peer: p, action: action}
	g.streams.add(call)
	defer g.streams.remove(call)
	if c.policy != g.policy.Load() {
		call.recheck() // it changed before this call was among those that it looks at
	}
	next.ServeHTTP(w, r.WithContext(ctx))
}

// recheck ends the call if the policy in force does not allow it.
func (a *adminCall) recheck() {
	if c := a.guard.callerAt(a.peer); !allowsAdmin(c, a.action) {
		a.guard.deny(c, a.action, etcdapi.Range{})
		a.cancel(errRevoked)
	}
}

var errRevoked = errors.New("permission denied: the policy does not allow this call any more")

// end leaves the call to whoever serves it: it says what became of it, and stops in its
// own time.
func (*adminCall) end(error) {}
