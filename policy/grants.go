package policy

import (
	"slices"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// compileSubject gathers what all rules say that name one of the entries.
func (p *Policy) compileSubject(name string, entries []int) *Subject {
	s := &Subject{
		name:      name,
		marks:     p.marks,
		otherwise: Decision{Allowed: p.observes, Observed: p.observes},
	}
	var rules []int32
	for _, e := range entries {
		s.limits = stricter(s.limits, p.callers[e].limits)
		rules = append(rules, p.callers[e].rules...)
	}
	slices.Sort(rules)
	rules = slices.Compact(rules)

	parts := p.partsByAction(rules)
	for _, a := range etcdapi.Actions() {
		if a.Keyed() {
			s.keyed[a] = p.keyedGrant(parts[:a], parts[a], s)
		} else {
			s.unkeyed[a] = p.unkeyedDecision(parts[a], s.otherwise)
		}
	}
	s.compact = p.compaction(parts[etcdapi.KVCompact])
	return s
}

// part is one grant of one rule.
type part struct{ rule, grant int32 }

func (p *Policy) partsByAction(rules []int32) (parts [etcdapi.ActionCount][]part) {
	actions := etcdapi.Actions()
	for _, r := range rules {
		for g, grant := range p.rules[r].grants {
			for _, a := range actions {
				if grant.actions.has(a) {
					parts[a] = append(parts[a], part{r, int32(g)})
				}
			}
		}
	}
	return parts
}

// keyedGrant makes the tables of an action. Most rules grant several actions on
// the same keys (Range brings its like in transactions), so an action that is
// granted by the same parts as an earlier one shares its tables.
func (p *Policy) keyedGrant(earlier [][]part, parts []part, s *Subject) keyedGrant {
	if len(parts) == 0 {
		return keyedGrant{}
	}
	for a, same := range earlier {
		if etcdapi.Action(a).Keyed() && slices.Equal(same, parts) {
			return s.keyed[a]
		}
	}
	var enforced, observed, either []claim
	for _, part := range parts {
		r := &p.rules[part.rule]
		for _, keys := range r.grants[part.grant].keys {
			c := claim{interval: keys, rule: part.rule}
			if r.observes {
				observed = append(observed, c)
			} else {
				enforced = append(enforced, c)
			}
			either = append(either, claim{interval: keys})
		}
	}
	g := keyedGrant{enforced: newTable(enforced), observed: newTable(observed)}
	if g.observed != nil {
		g.either = newTable(either)
	}
	return g
}

// unkeyedDecision prefers a rule that enforces to one that observes, and the first.
func (p *Policy) unkeyedDecision(parts []part, otherwise Decision) Decision {
	d := otherwise
	for _, part := range parts {
		r := &p.rules[part.rule]
		if !r.observes {
			return p.marks[part.rule].decision(false)
		}
		if d.Rule == "" {
			d = p.marks[part.rule].decision(true)
		}
	}
	return d
}

func (p *Policy) compaction(parts []part) compaction {
	c := compaction{enforcedRule: gap, anyRule: gap}
	for _, part := range parts {
		r := &p.rules[part.rule]
		if !r.observes && (c.enforcedRule == gap || r.compactionAge < c.enforced) {
			c.enforced, c.enforcedRule = r.compactionAge, part.rule
		}
		if c.anyRule == gap || r.compactionAge < c.any {
			c.any, c.anyRule = r.compactionAge, part.rule
		}
	}
	return c
}

// stricter is the lower of each pair of limits, of which 0 is none.
func stricter(a, b Limits) Limits {
	return Limits{
		KeysPerRange: lower(a.KeysPerRange, b.KeysPerRange),
		ValueBytes:   lower(a.ValueBytes, b.ValueBytes),
		Watchers:     lower(a.Watchers, b.Watchers),
		InFlight:     lower(a.InFlight, b.InFlight),
	}
}

func lower[T int | int64](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
