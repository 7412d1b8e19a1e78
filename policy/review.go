package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Review is what a valid policy amounts to: for `policy check`, and for whoever
// answers for it.
type Review struct {
	File     string         `json:"file"`
	Digest   string         `json:"sha256"`
	Enforces bool           `json:"enforces"`
	Rules    int            `json:"rules"`
	Callers  []CallerReview `json:"callers"`
	Warnings []Warning      `json:"warnings"`
}

// CallerReview is what the rules that name one caller entry allow it together.
type CallerReview struct {
	Name   string        `json:"name"`
	Line   int           `json:"line"`
	Rules  int           `json:"rules"`
	Limits Limits        `json:"limits"`
	Grants []GrantReview `json:"grants"`
	// More is how many further grants there are.
	More int `json:"more"`
}

// GrantReview is one line of that.
type GrantReview struct {
	Rule     string `json:"rule"`
	Actions  string `json:"actions"` // a role's name, or actions
	Keys     string `json:"keys,omitempty"`
	Observes bool   `json:"observes"`
}

// Warning is something that is allowed to be so, and is worth a look.
type Warning struct {
	Line    int    `json:"line"`
	Message string `json:"message"`
}

const maxGrantsShown = 10

// Review reads the policy as a whole.
func (p *Policy) Review() Review {
	r := Review{File: p.file, Digest: p.digest, Enforces: !p.observes, Rules: len(p.rules)}
	for i := range p.callers {
		r.Callers = append(r.Callers, p.reviewCaller(i))
	}
	w := reviewer{policy: p}
	w.file()
	for i := range p.callers {
		w.caller(i)
	}
	for i := range p.rules {
		w.rule(&p.rules[i])
	}
	w.shadowed()
	slices.SortStableFunc(w.warnings, func(a, b Warning) int { return a.Line - b.Line })
	r.Warnings = w.warnings
	return r
}

func (p *Policy) reviewCaller(i int) CallerReview {
	c := &p.callers[i]
	out := CallerReview{Name: c.name, Line: c.line, Rules: len(c.rules), Limits: c.limits}
	for _, index := range c.rules {
		rule := &p.rules[index]
		for _, g := range rule.reviewGrants() {
			if len(out.Grants) == maxGrantsShown {
				out.More++
				continue
			}
			out.Grants = append(out.Grants, g)
		}
	}
	return out
}

func (r *rule) reviewGrants() []GrantReview {
	if r.role != "" {
		g := GrantReview{Rule: r.name, Actions: "role " + r.role, Observes: r.observes}
		if role, _ := lookupRole(r.role); role.takesKeys() {
			for i, part := range role.Parts {
				if part.yourOwn {
					g.Keys = describe(r.grants[i].keys)
				}
			}
		}
		return []GrantReview{g}
	}
	var out []GrantReview
	for _, g := range r.grants {
		review := GrantReview{Rule: r.name, Actions: g.actions.String(), Observes: r.observes}
		if g.actions.keyed() {
			review.Keys = describe(g.keys)
		}
		out = append(out, review)
	}
	return out
}

func describe(keys []interval) string {
	var all []string
	for i, k := range keys {
		if i == 3 && len(keys) > 4 {
			all = append(all, fmt.Sprintf("and %d more", len(keys)-i))
			break
		}
		all = append(all, k.String())
	}
	return strings.Join(all, ", ")
}

// String has whole services as "KV.*", and leaves out what another action implies.
func (s actionSet) String() string {
	if s == setOf(etcdapi.Actions()...) {
		return "*"
	}
	implied := actionSet{}
	for _, i := range implications {
		if s.has(i.granted) {
			implied.add(i.implied)
		}
	}
	var all []string
	done := map[string]bool{}
	for _, a := range etcdapi.Actions() {
		service, _ := serviceOf(a)
		switch {
		case !s.has(a) || done[service]:
		case s.hasAll(etcdapi.MatchActions(service + ".*")):
			done[service] = true
			all = append(all, service+".*")
		case !implied.has(a):
			all = append(all, a.String())
		}
	}
	return strings.Join(all, ", ")
}

func (s actionSet) hasAll(actions []etcdapi.Action) bool {
	return !slices.ContainsFunc(actions, func(a etcdapi.Action) bool { return !s.has(a) })
}
