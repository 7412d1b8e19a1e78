package guard

import (
	"context"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/policy"
)

type peerKey struct{}

// ConnContext keeps who is at the other end of an HTTP connection; for
// http.Server.ConnContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if addr, ok := c.RemoteAddr().(*certs.Addr); ok {
		return context.WithValue(ctx, peerKey{}, addr.Peer)
	}
	return ctx
}

// HTTP puts the guard before what the client port answers over HTTP/1.1: health,
// version, metrics, etcdguard's own administration, and pprof where next has it.
// Anything else does not exist there, for anybody.
func (g *Guard) HTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := httpAction(r.URL.Path)
		if action == etcdapi.NoAction {
			http.NotFound(w, r)
			return
		}
		p, ok := r.Context().Value(peerKey{}).(*certs.Peer)
		if !ok {
			http.Error(w, errNoIdentity.Error(), http.StatusInternalServerError)
			return
		}
		c := g.callerAt(p)
		req := g.newRequest(etcdapi.Method{Action: action}, nil, c)
		admin := strings.HasPrefix(r.URL.Path, etcdapi.AdminPrefix)
		d := c.subject.Decide(action, etcdapi.Range{})
		if admin && !allowsAdmin(c, action) {
			d = policy.Decision{}
		}
		req.judged(audit.Access{Action: action}, d)
		switch {
		case !d.Allowed:
			if err := g.recordDenied(r.Context(), req, g.deny(c, action, etcdapi.Range{})); err != errPermissionDenied {
				http.Error(w, status.Convert(err).Message(), http.StatusServiceUnavailable)
				return
			}
			http.Error(w, "permission denied", http.StatusForbidden)
			return
		case d.Observed:
			g.observe(c, action, etcdapi.Range{})
		default:
			g.count(c, action, allowed)
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c.who.String()))
		serve := g.Probe(next).ServeHTTP
		if admin {
			serve = func(w http.ResponseWriter, r *http.Request) { g.serveAdmin(next, w, r, p, c, action) }
		}
		g.recordHTTP(req, serve, w, r)
	})
}

// recordHTTP serves a request that was let through, with the record around it. What an
// answer over HTTP says has begun to leave before it ends, so an intent is on stable
// storage before it begins.
func (g *Guard) recordHTTP(req *Request, serve http.HandlerFunc, w http.ResponseWriter, r *http.Request) {
	if g.audit == nil {
		serve(w, r)
		return
	}
	if err := g.recordIntent(r.Context(), req); err != nil {
		http.Error(w, status.Convert(err).Message(), http.StatusServiceUnavailable)
		return
	}
	if req.record.intended {
		if err := g.audit.Await(r.Context(), req.record.event.Of); err != nil {
			http.Error(w, status.Convert(unrecordable(err)).Message(), http.StatusServiceUnavailable)
			return
		}
	}
	answered := &answerWriter{ResponseWriter: w}
	serve(answered, r)
	_ = g.recordAnswer(context.WithoutCancel(r.Context()), req, nil, httpAnswer(answered.code))
}

type callerKey struct{}

// CallerName names who made a request that HTTP let through, for logs.
func CallerName(r *http.Request) string {
	name, _ := r.Context().Value(callerKey{}).(string)
	return name
}

// Probe makes the guard's readiness a condition of what health probes are told.
// /livez is etcd's alone: a member that only waits must not be restarted for it.
func (g *Guard) Probe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if !g.ready.Load() && (path == "/health" || path == "/readyz" || strings.HasPrefix(path, "/readyz/")) {
			http.Error(w, g.notReady(), http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func httpAction(path string) etcdapi.Action {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "health", "livez", "readyz":
		return etcdapi.HTTPHealth
	case "version":
		return etcdapi.HTTPVersion
	case "metrics":
		return etcdapi.HTTPMetrics
	case "debug":
		return etcdapi.HTTPDebug
	}
	return etcdapi.AdminAction(path)
}
