package policy

import (
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Decision is what the policy says of one access.
type Decision struct {
	Allowed bool
	// Observed: allowed only because the file or the rule observes; without that it
	// would be denied.
	Observed bool
	// Rule is the name of the rule that decides: the one that covers the first key,
	// or, if Observed, the observing one without which cover would end. "" is none.
	Rule string
	// Audit is how much the rule wants on record; Full where no rule decides.
	Audit Level
}

// Level is how much of a caller's requests that change nothing the audit log has.
// Writes, denials and administration are recorded in full whatever a rule says.
type Level uint8

// The levels, from everything to nothing. What is not recorded is counted there.
const (
	Full Level = iota
	Summary
	None
)

var levelNames = [...]string{"full", "summary", "none"}

func (l Level) String() string { return levelNames[l] }

// Limits bound what one caller may ask for and hold; 0 is no bound.
type Limits struct {
	KeysPerRange int64
	ValueBytes   int64
	Watchers     int
	InFlight     int
}

// Subject is everything that a policy says about one caller. It never changes and
// is safe for concurrent use.
type Subject struct {
	name      string
	limits    Limits
	marks     []mark // of the policy's rules, by cover.rule
	otherwise Decision
	keyed     [etcdapi.ActionCount]keyedGrant
	unkeyed   [etcdapi.ActionCount]Decision
	compact   compaction
}

// keyedGrant is where one action is allowed. The two last are nil unless some rule
// for the action observes.
type keyedGrant struct {
	enforced *table // rules that enforce
	observed *table // rules that observe
	either   *table // both, for ranges that they only cover together
}

// Name is the first caller entry of the file that matched; "anonymous" for no
// certificate, "unmatched" for one that the policy does not know. It is one of a
// bounded set, and can be a metric's label.
func (s *Subject) Name() string { return s.name }

// Limits are the strictest of all caller entries that matched.
func (s *Subject) Limits() Limits { return s.limits }

// Decide judges one access. The range must be normalised and confined to client
// keys; an action without keys comes with the zero Range. A span without a key in
// it is judged at its first key. What makes no sense is denied, observe or not.
func (s *Subject) Decide(a etcdapi.Action, r etcdapi.Range) Decision {
	if a == etcdapi.NoAction || int(a) >= etcdapi.ActionCount {
		return Decision{}
	}
	if !a.Keyed() {
		return s.unkeyed[a]
	}
	if r.Kind == etcdapi.None || etcdapi.IsReserved(r.Begin) {
		return Decision{} // a defect of the caller's: fail closed
	}
	if len(r.Begin) == 0 {
		// No key is empty: etcd answers such a request with an error and touches
		// nothing. Who may use the lowest keys may see that error.
		r.Begin = etcdapi.FirstClientKey
	}
	g := &s.keyed[a]
	first := g.enforced.at(r.Begin)
	if first.reaches(r) {
		return s.marks[first.rule].decision(false)
	}
	if g.observed != nil && g.either.at(r.Begin).reaches(r) {
		return s.observer(g, first, r).decision(true)
	}
	return s.otherwise
}

// reaches reports whether every key of r, which begins in s, is covered. etcd's own
// authorisation let through what was only partly covered when range_end was "\x00"
// (CVE-2026-73499): a Tail needs cover without end.
func (s *cover) reaches(r etcdapi.Range) bool {
	switch {
	case s == nil:
		return false
	case s.runEnd == "" || r.Kind == etcdapi.Point:
		return true
	case r.Kind == etcdapi.Tail:
		return false
	default: // Span; one without a key ends before it begins, so inside
		return string(r.End) <= s.runEnd
	}
}

// mark is what a decision says of the rule that made it.
type mark struct {
	name  string
	audit Level
}

func (m mark) decision(observed bool) Decision {
	return Decision{Allowed: true, Observed: observed, Rule: m.name, Audit: m.audit}
}

// observer is the rule that carries r past where enforcing rules end.
func (s *Subject) observer(g *keyedGrant, first *cover, r etcdapi.Range) mark {
	from := r.Begin
	if first != nil {
		from = []byte(first.runEnd)
	}
	if o := g.observed.at(from); o != nil {
		return s.marks[o.rule]
	}
	return mark{}
}

// compaction is the age that a revision needs before the caller may compact up to
// it, and where only observing rules allow less than that.
type compaction struct {
	enforced, any time.Duration // the latter counts observing rules too
	enforcedRule  int32         // gap: none
	anyRule       int32
}

// CompactionAge bounds KV.Compact, if that is allowed: only revisions that stopped
// being head at least this long ago; 0 is no bound. Of several rules the least
// strict holds, and rules that observe count; in a file that observes there is none.
func (s *Subject) CompactionAge() time.Duration {
	if s.otherwise.Allowed {
		return 0
	}
	return s.compact.any
}

// DecideCompaction is Decide for KV.Compact to a revision that stopped being head
// the given time ago. Unlike CompactionAge it tells what is only observed.
func (s *Subject) DecideCompaction(age time.Duration) Decision {
	c := s.compact
	switch {
	case c.enforcedRule != gap && age >= c.enforced:
		return s.marks[c.enforcedRule].decision(false)
	case c.anyRule != gap && age >= c.any:
		return s.marks[c.anyRule].decision(true)
	default:
		return s.otherwise
	}
}
