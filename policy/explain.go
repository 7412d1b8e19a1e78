package policy

import (
	"fmt"
	"slices"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Explanation is a decision with its reasons, for people and for -o json.
type Explanation struct {
	Caller  string   `json:"caller"`            // as the certificate says it
	KnownAs string   `json:"knownAs"`           // see Subject.Name
	Matches []string `json:"matches,omitempty"` // caller entries that match
	Action  string   `json:"action"`
	Range   string   `json:"range,omitempty"`

	Allowed  bool   `json:"allowed"`
	Observed bool   `json:"observed"`
	Rule     string `json:"rule,omitempty"` // that decides
	// Audit is how much of what it allows, and changes nothing, is recorded.
	Audit  string `json:"audit,omitempty"`
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"` // of the rule
	Reason string `json:"reason"`

	// Others are the rules that name the caller and do not decide, the first
	// maxOthers of them; OtherRules is how many there are.
	Others     []OtherRule `json:"others,omitempty"`
	OtherRules int         `json:"otherRules"`
	// NearMisses say, for a caller that nothing matches, which entries share some
	// field with it and which field failed.
	NearMisses []string `json:"nearMisses,omitempty"`
	Suggestion string   `json:"suggestion,omitempty"`
}

// OtherRule is a rule that names the caller and does not decide.
type OtherRule struct {
	Rule   string `json:"rule"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

const maxOthers = 50

// Explain is Decide with its reasons. It decides by the same Subject that the
// guard asks; only the reasons are found in another way.
func (p *Policy) Explain(c Caller, a etcdapi.Action, r etcdapi.Range) Explanation {
	s := p.Subject(c)
	d := s.Decide(a, r)
	e := Explanation{
		Caller: c.String(), KnownAs: s.Name(), Action: a.String(), File: p.file,
		Allowed: d.Allowed, Observed: d.Observed, Rule: d.Rule,
	}
	if a.Keyed() {
		e.Range = r.String()
	}
	if d.Allowed {
		e.Audit = d.Audit.String()
	}
	entries := p.matching(c)
	for _, i := range entries {
		e.Matches = append(e.Matches, p.callers[i].name)
	}
	if len(entries) == 0 {
		e.NearMisses = p.nearMisses(c)
	}
	rules := p.rulesOf(entries)
	for _, i := range rules {
		rule := &p.rules[i]
		if rule.name == d.Rule {
			e.Line = rule.line
			continue
		}
		if e.OtherRules++; len(e.Others) < maxOthers {
			e.Others = append(e.Others, OtherRule{rule.name, rule.line, rule.why(a, r)})
		}
	}
	e.Reason = p.reason(d, entries, s, a, r)
	if !d.Allowed || d.Observed {
		e.Suggestion = p.Suggest(c, a, r)
	}
	return e
}

// rulesOf are the rules that name one of the entries, in the order of the file.
func (p *Policy) rulesOf(entries []int) []int32 {
	var rules []int32
	for _, i := range entries {
		rules = append(rules, p.callers[i].rules...)
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

func (p *Policy) reason(d Decision, entries []int, s *Subject, a etcdapi.Action, r etcdapi.Range) string {
	switch {
	case d.Allowed && !d.Observed && a == etcdapi.KVCompact && s.CompactionAge() > 0:
		return fmt.Sprintf("rule %s allows it, to revisions that have not been the newest for %v", d.Rule, s.CompactionAge())
	case d.Allowed && !d.Observed && !a.Keyed():
		return fmt.Sprintf("rule %s allows it", d.Rule)
	case d.Allowed && !d.Observed:
		if p.ruleNamed(d.Rule).coversAlone(a, r) {
			return fmt.Sprintf("rule %s allows it on all of these keys", d.Rule)
		}
		return fmt.Sprintf("rule %s allows it on the first of these keys, and other rules on the rest", d.Rule)
	case d.Observed && d.Rule != "":
		return fmt.Sprintf("rule %s observes: without it this would be denied", d.Rule)
	case d.Observed:
		return "no rule allows it; the policy observes (mode: observe), so it is let through and recorded"
	case a.Keyed() && etcdapi.IsReserved(r.Begin):
		return "these keys are reserved for etcdguard, and no rule can allow them"
	case len(entries) == 0:
		return "no caller entry matches, so no rule speaks of this caller"
	default:
		return "no rule allows it" + p.uncovered(s, a, r)
	}
}

// uncovered says where cover ends, if some of the range has it.
func (p *Policy) uncovered(s *Subject, a etcdapi.Action, r etcdapi.Range) string {
	if !a.Keyed() || r.Kind == etcdapi.Point {
		return ""
	}
	g := &s.keyed[a]
	t := g.either
	if t == nil {
		t = g.enforced
	}
	if covered := t.at(r.Begin); covered != nil {
		return fmt.Sprintf(" on all of these keys: from %q on none does", covered.runEnd)
	}
	return ""
}

func (p *Policy) ruleNamed(name string) *rule {
	i := slices.IndexFunc(p.marks, func(m mark) bool { return m.name == name })
	if i < 0 {
		return &rule{}
	}
	return &p.rules[i]
}

// coversAlone reports whether the rule needs no other for the range.
func (r *rule) coversAlone(a etcdapi.Action, keys etcdapi.Range) bool {
	for _, g := range r.grants {
		if g.actions.has(a) && within(intervalOf(keys), g.keys) {
			return true
		}
	}
	return false
}

// why says what the rule has to do with an access that it does not decide.
func (r *rule) why(a etcdapi.Action, keys etcdapi.Range) string {
	var has bool
	touches := false
	wanted := intervalOf(keys)
	for _, g := range r.grants {
		if !g.actions.has(a) {
			continue
		}
		has = true
		for _, k := range g.keys {
			touches = touches || endBefore(wanted.begin, k.end) && endBefore(k.begin, wanted.end)
		}
	}
	observes := ""
	if r.observes {
		observes = ", and only observes"
	}
	switch {
	case !has:
		return "does not grant " + a.String()
	case !a.Keyed():
		return "grants it too" + observes
	case r.coversAlone(a, keys):
		return "covers these keys too" + observes
	case touches:
		return "covers some of these keys" + observes
	default:
		return "grants it on other keys" + observes
	}
}

// nearMisses are entries that fail on one field and share another.
func (p *Policy) nearMisses(c Caller) []string {
	var out []string
	for i := range p.callers {
		entry := &p.callers[i]
		failed := entry.match.mismatch(c)
		if failed == "" || !entry.match.shares(c) {
			continue
		}
		out = append(out, fmt.Sprintf("caller %s (line %d): %s does not hold", entry.name, entry.line, failed))
		if len(out) == maxOthers {
			break
		}
	}
	return out
}

// shares reports whether c has at least one of the listed values.
func (m *matcher) shares(c Caller) bool {
	return slices.Contains(m.cn, c.CN) || slices.Contains(m.publicKey, c.PublicKeySHA256) ||
		anyOf(m.uri, c.URI) || anyOf(m.dns, c.DNS) || anyOf(m.o, c.O) || anyOf(texts(m.ip), texts(c.IP))
}
