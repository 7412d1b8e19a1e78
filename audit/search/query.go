package search

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query says which rows are wanted: those to which every field that is set applies, and
// of a list any entry. The zero Query wants all.
type Query struct {
	Callers []CallerIs
	Peer    string   // the address that the request came from, with or without its port
	Actions []string // "KV.Put"; "KV.*" is a whole service, "KV.Txn" its parts too
	Keys    *Keys    // with accesses that reach one of these
	Kinds   []string

	Decisions, Codes []string
	Denied           bool // the guard said no
	Failed           bool // let through, and answered with another code than OK, or lost

	Since, Until time.Time // from, and before
	Revisions    *Span     // of the store, in the answer; a gap has those that it spans
	Seqs         *Span
}

// Span are the numbers from From to To, both included.
type Span struct{ From, To int64 }

func (s *Span) has(n int64) bool { return s == nil || s.From <= n && n <= s.To }

// CallerIs is a condition on the caller: that a field has a value.
type CallerIs struct {
	Field string // one of CallerFields; "": any of them
	Value string
}

// CallerFields are the fields of a caller that can be searched.
var CallerFields = []string{"name", "cn", "o", "dns", "ip", "uri", "serial", "publicKeySHA256"}

func (c CallerIs) matches(who *Caller) bool {
	if who == nil {
		return false
	}
	in := func(field string, values ...string) bool {
		return (c.Field == "" || c.Field == field) && slices.Contains(values, c.Value)
	}
	return in("name", who.Name) || in("cn", who.CN) || in("o", who.O...) || in("dns", who.DNS...) || in("ip", who.IP...) ||
		in("uri", who.URI...) || in("serial", who.Serial) || in("publicKeySHA256", who.PublicKeySHA256)
}

func (q *Query) wantsCaller(who *Caller) bool {
	return len(q.Callers) == 0 || slices.ContainsFunc(q.Callers, func(c CallerIs) bool { return c.matches(who) })
}

func (q *Query) wantsAction(action string) bool {
	return len(q.Actions) == 0 || action != "" && slices.ContainsFunc(q.Actions, func(pattern string) bool { return actionMatches(pattern, action) })
}

func actionMatches(pattern, action string) bool {
	if service, all := strings.CutSuffix(pattern, "*"); all {
		return strings.HasPrefix(action, service)
	}
	return action == pattern || strings.HasPrefix(action, pattern) && action[len(pattern)] == ':' ||
		strings.HasSuffix(action, ":") && strings.HasPrefix(pattern, action) // an unknown part
}

// wantsActions is wantsAction for actions with commas between them.
func (q *Query) wantsActions(all string) bool {
	for action := range strings.SplitSeq(all, ",") {
		if q.wantsAction(action) {
			return true
		}
	}
	return false
}

// wantsPeerHost reports whether a peer at this address can be the one that is wanted.
func (q *Query) wantsPeerHost(host string) bool { return q.Peer == "" || hostOf(q.Peer) == host }

func (q *Query) wantsPeer(who *Caller) bool {
	if q.Peer == "" {
		return true
	}
	if who == nil {
		return false
	}
	if _, err := netip.ParseAddrPort(q.Peer); err == nil {
		return who.Peer == q.Peer
	}
	return hostOf(who.Peer) == q.Peer
}

func wants(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }

// wantsResult reports whether a request may have ended so.
func (q *Query) wantsResult(kind, code string, rev int64) bool {
	return wants(q.Codes, code) && (!q.Failed || code != "" && code != codeOK && kind != kindDenied) && q.Revisions.has(rev)
}

// asksResult reports whether it matters how a request ended.
func (q *Query) asksResult() bool { return len(q.Codes) > 0 || q.Failed || q.Revisions != nil }

func (q *Query) wantsTime(t int64) bool {
	return (q.Since.IsZero() || t >= q.Since.UnixNano()) && (q.Until.IsZero() || t < q.Until.UnixNano())
}

// matches is what a query means. outcome is the other half of an intent, nil if there is
// none. Everything else here is about finding out without reading the events.
func (q *Query) matches(own, outcome *facts) bool {
	last := own
	if outcome != nil {
		last = outcome
	}
	return q.wantsCaller(own.caller) && q.wantsPeer(own.caller) && q.wantsAccess(own) &&
		(wants(q.Kinds, string(own.kind)) || outcome != nil && wants(q.Kinds, string(outcome.kind))) &&
		(!q.Denied || string(own.kind) == kindDenied) && wants(q.Decisions, string(own.decision)) &&
		q.wantsTime(own.time) &&
		(q.Seqs.has(int64(own.seq)) || outcome != nil && q.Seqs.has(int64(outcome.seq))) &&
		(q.wantsResult(string(last.kind), string(last.code), last.rev) || q.wantsGap(own))
}

// wantsGap reports whether the revisions that are not on record are asked for.
func (q *Query) wantsGap(f *facts) bool {
	if string(f.kind) != kindGap || q.Revisions == nil || len(q.Codes) > 0 || q.Failed {
		return false
	}
	from, err1 := strconv.ParseInt(f.from, 10, 64)
	to, err2 := strconv.ParseInt(f.to, 10, 64)
	return err1 == nil && err2 == nil && from <= q.Revisions.To && q.Revisions.From <= to
}

// wantsAccess reports whether a wanted action reaches a wanted key.
func (q *Query) wantsAccess(f *facts) bool {
	all := q.wantsAction(string(f.action))
	for i := range f.counts {
		all = all || q.wantsAction(f.counts[i].Action)
	}
	if q.Keys == nil {
		return all || slices.ContainsFunc(f.access, func(a accessFacts) bool { return q.wantsAction(string(a.action)) })
	}
	return slices.ContainsFunc(f.access, func(a accessFacts) bool {
		return (all || q.wantsAction(string(a.action))) && a.reaches(*q.Keys)
	})
}
