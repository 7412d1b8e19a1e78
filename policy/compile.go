package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/internal/strictyaml"
)

// compiler turns a file into a Policy and gathers everything that is wrong.
type compiler struct {
	doc      *strictyaml.Document
	problems strictyaml.Problems
	// unread are the fields that could not be decoded, and around are those that
	// hold them: to judge what they mean would report consequences next to causes.
	unread, around map[string]bool
	callers        map[string]int              // by name
	rules          map[string]int              // by name, the line
	matched        map[string][]etcdapi.Action // by pattern: rules repeat few
	policy         *Policy
}

func compile(name string, data []byte) (*Policy, strictyaml.Problems) {
	var f file
	doc, err := strictyaml.Decode(name, data, &f)
	c := compiler{doc: doc, unread: map[string]bool{}, around: map[string]bool{}, callers: map[string]int{}, rules: map[string]int{},
		matched: map[string][]etcdapi.Action{}, policy: &Policy{}}
	errors.As(err, &c.problems)
	if doc == nil {
		return nil, c.problems
	}
	for _, p := range c.problems {
		c.unread[p.Field] = true
		for at := parent(p.Field); at != ""; at = parent(at) {
			c.around[at] = true
		}
	}
	c.head(&f)
	for i := range f.Callers {
		c.caller(i, &f.Callers[i])
	}
	for i := range f.Rules {
		c.rule(i, &f.Rules[i])
	}
	return c.policy, c.problems
}

// parent is the field that holds field: "rules[3]" of "rules[3].name".
func parent(field string) string {
	return field[:max(0, strings.LastIndexAny(field, ".["))]
}

func (c *compiler) problem(field, message, fix string) {
	if c.around[field] {
		return
	}
	for at := field; at != ""; at = parent(at) {
		if c.unread[at] {
			return
		}
	}
	c.problems = append(c.problems, c.doc.Problem(field, message, fix))
}

func (c *compiler) head(f *file) {
	if f.APIVersion != apiVersion {
		c.problem("apiVersion", "is not a version that this etcdguard reads", "write apiVersion: "+apiVersion)
	}
	if f.Kind != kind {
		c.problem("kind", "this is not a policy", "write kind: "+kind)
	}
	c.policy.observes = c.mode("mode", f.Mode)
}

// mode reports whether it is observe.
func (c *compiler) mode(field, mode string) bool {
	if mode != "" && mode != modeEnforce && mode != modeObserve {
		c.problem(field, fmt.Sprintf("%q is not a mode", mode), "write enforce or observe")
	}
	return mode == modeObserve
}

// goodName keeps names fit to be labels of metrics and words of logs.
func goodName(name string) bool {
	if name == "" || len(name) > 100 {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-:/@", r))
	}) < 0
}

const goodNames = "use up to 100 of letters, digits and . _ - : / @"

// quoted is a name of the file in a message, whatever is in it.
func quoted(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// oneOf suggests what a misspelt word was meant to be.
func oneOf(word string, known []string) string {
	if n := strictyaml.Nearest(word, known); n != "" {
		return "did you mean " + n + "?"
	}
	if len(known) > 12 {
		known = append(known[:12:12], "…")
	}
	if len(known) == 0 {
		return "there is none"
	}
	return "there are: " + strings.Join(known, ", ")
}

func (c *compiler) match(pattern string) []etcdapi.Action {
	actions, known := c.matched[pattern]
	if !known {
		actions = etcdapi.MatchActions(pattern)
		c.matched[pattern] = actions
	}
	return actions
}
