package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// reviewer gathers warnings.
type reviewer struct {
	policy   *Policy
	warnings []Warning
}

func (w *reviewer) warn(line int, format string, args ...any) {
	w.warnings = append(w.warnings, Warning{line, fmt.Sprintf(format, args...)})
}

func (w *reviewer) file() {
	if w.policy.observes {
		w.warn(0, "the policy observes: nothing is denied, whatever the rules say (mode: observe)")
	}
	if len(w.policy.rules) == 0 && !w.policy.observes {
		w.warn(0, "there is no rule: every request is denied")
	}
}

func (w *reviewer) caller(i int) {
	c := &w.policy.callers[i]
	if len(c.rules) == 0 {
		w.warn(c.line, "caller %s: no rule names it", c.name)
	}
	for _, values := range [][]string{c.match.cn, c.match.o, c.match.uri} {
		for _, v := range values {
			if strings.Contains(v, "*") {
				w.warn(c.line, "caller %s: %q is compared as it stands, the * included", c.name, v)
			}
		}
	}
}

// What a grant puts at stake. A grant can be right and still belong before the eyes
// of whoever signs for the policy.
var stakes = []struct {
	actions actionSet
	allKeys bool // only where the keys are all
	means   string
}{
	{setOf(etcdapi.MaintenanceSnapshot), false, "may take snapshots, which hold every key and value as stored"},
	{setOf(etcdapi.KVRange, etcdapi.KVRangeStream, etcdapi.KVTxnRange, etcdapi.WatchWatch), true, "may read every key"},
	{setOf(etcdapi.KVPut, etcdapi.KVDeleteRange, etcdapi.KVTxnPut, etcdapi.KVTxnDeleteRange), true, "may write every key"},
	{setOf(etcdapi.ClusterMemberAdd, etcdapi.ClusterMemberUpdate, etcdapi.ClusterMemberRemove, etcdapi.ClusterMemberPromote), false,
		"may change the members; a new member gets all data"},
	{setOf(etcdapi.MatchActions("Auth.*")...).without(etcdapi.AuthAuthStatus, etcdapi.AuthAuthenticate), false, "may change etcd's own users and roles"},
	{setOf(etcdapi.SealPhase, etcdapi.SealRetire, etcdapi.SealReseal, etcdapi.SealQuarantine), false,
		"may turn sealing off, destroy data keys, or drop values that do not open"},
}

func (s actionSet) without(actions ...etcdapi.Action) actionSet {
	remove := setOf(actions...)
	for i := range s {
		s[i] &^= remove[i]
	}
	return s
}

func (s actionSet) meets(other actionSet) bool {
	for i := range s {
		if s[i]&other[i] != 0 {
			return true
		}
	}
	return false
}

// harmless is what a caller without a certificate may well do: probes and metrics.
var harmless = setOf(etcdapi.HealthCheck, etcdapi.HealthList, etcdapi.HealthWatch,
	etcdapi.HTTPHealth, etcdapi.HTTPVersion, etcdapi.HTTPMetrics)

func (w *reviewer) rule(r *rule) {
	if len(r.grants) > 0 && r.grants[0].actions == setOf(etcdapi.Actions()...) && slices.Contains(r.grants[0].keys, everything) {
		w.warn(r.line, "rule %s: may do everything", r.name)
	} else {
		w.stakes(r)
	}
	for _, c := range r.callers {
		caller := &w.policy.callers[c]
		beyond := slices.ContainsFunc(r.grants, func(g grant) bool { return g.actions != g.actions.and(harmless) })
		switch {
		case caller.match.anonymous && beyond:
			w.warn(r.line, "rule %s: callers without a certificate get more than health and metrics", r.name)
		case caller.match.anyCertificate && beyond:
			w.warn(r.line, "rule %s: every holder of a certificate gets more than health and metrics", r.name)
		}
	}
	w.prefixes(r)
}

func (s actionSet) and(other actionSet) actionSet {
	for i := range s {
		s[i] &= other[i]
	}
	return s
}

func (w *reviewer) stakes(r *rule) {
	for _, stake := range stakes {
		if slices.ContainsFunc(r.grants, func(g grant) bool {
			return g.actions.meets(stake.actions) && (!stake.allKeys || within(everything, g.keys))
		}) {
			w.warn(r.line, "rule %s: %s", r.name, stake.means)
		}
	}
	compacts := slices.ContainsFunc(r.grants, func(g grant) bool { return g.actions.has(etcdapi.KVCompact) })
	if compacts && r.compactionAge == 0 {
		w.warn(r.line, "rule %s: may compact up to the newest revision; compactionAge would keep some history", r.name)
	}
}

// prefixes finds "/team-a" meant as a folder: it also holds /team-ab/.
func (w *reviewer) prefixes(r *rule) {
	for _, g := range r.grants {
		for _, k := range g.keys {
			if k == prefixed(k.begin) && k != everything && strings.Contains(k.begin, "/") && !strings.HasSuffix(k.begin, "/") {
				w.warn(r.line, "rule %s: prefix %q also holds %q; end it with / if it is a folder", r.name, k.begin, k.begin+"x")
			}
		}
	}
}

// shadowed finds rules that change nothing: all that they allow, earlier rules
// allow already, or, for a rule that observes, any rule that enforces does.
func (w *reviewer) shadowed() {
	decides := make([]bool, len(w.policy.rules))
	byName := make(map[string]int, len(w.policy.rules))
	for i, m := range w.policy.marks {
		byName[m.name] = i
	}
	for i := range w.policy.callers {
		s := w.policy.compileSubject("", []int{i})
		for _, a := range etcdapi.Actions() {
			if !a.Keyed() {
				if at, some := byName[s.unkeyed[a].Rule]; some {
					decides[at] = true
				}
				continue
			}
			s.keyed[a].deciding(decides)
		}
		if s.compact.enforcedRule != gap {
			decides[s.compact.enforcedRule] = true
		}
		if s.compact.anyRule != gap {
			decides[s.compact.anyRule] = true
		}
	}
	for i, r := range w.policy.rules {
		if !decides[i] {
			w.warn(r.line, "rule %s: changes nothing, other rules allow all of it already", r.name)
		}
	}
}

// deciding marks the rules that decide somewhere.
func (g *keyedGrant) deciding(decides []bool) {
	if g.enforced != nil {
		for _, c := range g.enforced.covers {
			decides[c.rule] = true
		}
	}
	if g.observed == nil {
		return
	}
	for i, c := range g.observed.covers {
		// The stretch that this rule has ends where the next begins, or with the run.
		stretch := interval{g.observed.begins[i], c.runEnd}
		if i+1 < len(g.observed.begins) && endBefore(g.observed.begins[i+1], stretch.end) {
			stretch.end = g.observed.begins[i+1]
		}
		if e := g.enforced.at([]byte(stretch.begin)); e == nil || endBefore(e.runEnd, stretch.end) {
			decides[c.rule] = true
		}
	}
}
