package policy

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// ruleCompiler is the compiler at one rule. Paths are made only for problems:
// there may be 100,000 rules.
type ruleCompiler struct {
	*compiler
	index int
}

func (c *ruleCompiler) at(field string) string { return "rules[" + strconv.Itoa(c.index) + "]" + field }

func (c *ruleCompiler) wrong(field, message, fix string) { c.problem(c.at(field), message, fix) }

func (c *compiler) rule(i int, e *ruleEntry) {
	r := &ruleCompiler{c, i}
	out := rule{
		name:     e.Name,
		line:     c.doc.Line(r.at("")),
		callers:  r.callersOf(e.Callers, i),
		role:     e.Role,
		observes: c.mode(r.at(".mode"), e.Mode),
		audit:    r.audit(e.Audit),
	}
	r.name(e.Name)
	own := r.keys(e.Keys)
	if e.Role != "" {
		out.grants, out.compactionAge = r.role(e, own)
	} else {
		out.grants, out.compactionAge = r.actions(e, own)
	}
	c.policy.rules = append(c.policy.rules, out)
}

func (c *ruleCompiler) audit(level string) Level {
	if level == "" {
		return Full
	}
	i := slices.Index(levelNames[:], level)
	if i < 0 {
		c.wrong(".audit", quoted(level)+" is not a level", "write full, summary or none; writes, denials and administration are recorded with each of them")
		return Full
	}
	return Level(i)
}

func (c *ruleCompiler) name(name string) {
	line, twice := c.compiler.rules[name]
	switch {
	case name == "" && c.around[c.at("")]: // probably what a problem here is about
	case !goodName(name):
		c.wrong(".name", quoted(name)+" is not a name", goodNames)
	case twice:
		c.wrong(".name", fmt.Sprintf("%q is the name of the rule on line %d", name, line), "choose another: logs name the rule that decided")
	default:
		c.compiler.rules[name] = c.doc.Line(c.at(""))
	}
}

// callersOf finds the callers of the rule and tells them of it.
func (c *ruleCompiler) callersOf(names []string, index int) (out []int32) {
	if len(names) == 0 {
		c.wrong(".callers", "names nobody", "list names of callers")
	}
	for j, name := range names {
		caller, known := c.compiler.callers[name]
		switch {
		case !known && c.nameless(): // it may be the one whose name could not be read
		case !known:
			c.wrong(fmt.Sprintf(".callers[%d]", j), "no caller has the name "+quoted(name), oneOf(name, c.callerNames()))
		case slices.Contains(out, int32(caller)):
			c.wrong(fmt.Sprintf(".callers[%d]", j), quoted(name)+" is named twice", "remove one")
		default:
			out = append(out, int32(caller))
			entry := &c.policy.callers[caller]
			entry.rules = append(entry.rules, int32(index))
		}
	}
	return out
}

// nameless reports whether there are callers whose name could not be read.
func (c *ruleCompiler) nameless() bool {
	_, some := c.compiler.callers[""]
	return some || c.unread["callers"]
}

func (c *ruleCompiler) callerNames() []string {
	var names []string
	for _, e := range c.policy.callers {
		if names = append(names, e.name); len(names) == 1000 {
			break // enough to guess from
		}
	}
	return names
}

func (c *ruleCompiler) role(e *ruleEntry, own []interval) ([]grant, time.Duration) {
	if len(e.Actions) > 0 {
		c.wrong(".actions", "a rule has a role or actions, not both", "make two rules")
	}
	role, known := lookupRole(e.Role)
	if !known {
		c.wrong(".role", quoted(e.Role)+" is not a role", oneOf(e.Role, roleNames()))
		return nil, 0
	}
	if len(e.Keys) > 0 && !role.takesKeys() {
		c.wrong(".keys", "role "+role.Name+" has its own keys", "remove keys, or write actions in place of the role")
	}
	grants := role.grants(own)
	age := role.CompactionAge
	if e.CompactionAge != nil {
		age = *e.CompactionAge
	}
	c.compactionAge(e, grants)
	return grants, age
}

func (c *ruleCompiler) actions(e *ruleEntry, own []interval) ([]grant, time.Duration) {
	if len(e.Actions) == 0 {
		c.wrong("", "the rule grants nothing", "give it a role or actions")
		return nil, 0
	}
	g := grant{keys: own}
	good := true
	for j, pattern := range e.Actions {
		matched := c.match(pattern)
		if len(matched) == 0 {
			good = false
			c.wrong(fmt.Sprintf(".actions[%d]", j), quoted(pattern)+" is not an action", oneOf(pattern, patterns()))
		}
		for _, a := range matched {
			g.actions.add(a)
		}
	}
	switch keyed := g.actions.keyed(); {
	case !good: // what is keyed is not known
	case keyed && len(e.Keys) == 0:
		c.wrong(".keys", "is missing, and some of the actions are judged by keys", "list keys, such as keys: [{prefix: /team-a/}]; all keys are [{all: true}]")
	case !keyed && len(e.Keys) > 0:
		c.wrong(".keys", "none of the actions is judged by keys", "remove it: it would limit nothing")
	}
	var age time.Duration
	if e.CompactionAge != nil {
		age = *e.CompactionAge
	}
	if good {
		c.compactionAge(e, []grant{g})
	}
	g.actions = g.actions.withImplied()
	return []grant{g}, age
}

// MaxCompactionAge is the highest compactionAge. Members keep the history of the head
// for as long.
const MaxCompactionAge = time.Hour

func (c *ruleCompiler) compactionAge(e *ruleEntry, grants []grant) {
	if e.CompactionAge == nil {
		return
	}
	if *e.CompactionAge < 0 {
		c.wrong(".compactionAge", "is negative", "write a duration such as 4m30s")
	}
	if *e.CompactionAge > MaxCompactionAge {
		c.wrong(".compactionAge", fmt.Sprintf("is more than %v, as far as a member remembers: no compaction would ever be allowed", MaxCompactionAge),
			fmt.Sprintf("write %v or less", MaxCompactionAge))
	}
	if !slices.ContainsFunc(grants, func(g grant) bool { return g.actions.has(etcdapi.KVCompact) }) {
		c.wrong(".compactionAge", "the rule does not allow compaction", "remove it, or add the action KV.Compact")
	}
}

// patterns are the ways to write actions, for suggestions.
func patterns() []string {
	all := []string{"*"}
	seen := map[string]bool{}
	for _, a := range etcdapi.Actions() {
		service, _ := serviceOf(a)
		if !seen[service] {
			seen[service] = true
			all = append(all, service+".*")
		}
	}
	for _, a := range etcdapi.Actions() {
		all = append(all, a.String())
	}
	return all
}

// SuggestAction says which action a word was meant to be.
func SuggestAction(word string) string { return oneOf(word, patterns()) }
