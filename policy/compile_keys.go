package policy

import (
	"bytes"
	"fmt"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// keys reads where a rule applies. No rule can reach the reserved keys: what would
// is a mistake, and `all` begins above them.
func (c *ruleCompiler) keys(entries []keyEntry) []interval {
	var out []interval
	for j := range entries {
		if k, ok := c.key(fmt.Sprintf(".keys[%d]", j), &entries[j]); ok {
			out = append(out, k)
		}
	}
	return out
}

func (c *ruleCompiler) key(field string, e *keyEntry) (interval, bool) {
	forms := 0
	for _, given := range []bool{e.Key != nil, e.Prefix != nil, e.From != nil || e.To != nil, e.All} {
		if given {
			forms++
		}
	}
	switch {
	case forms != 1:
		c.wrong(field, "says not exactly one thing", "write one of {key: …}, {prefix: …}, {from: …, to: …}, {from: …}, {all: true}")
	case e.All:
		return everything, true
	case e.Key != nil:
		if c.begin(field+".key", e.Key) {
			return exactly(string(e.Key)), true
		}
	case e.Prefix != nil:
		if c.begin(field+".prefix", e.Prefix) {
			return prefixed(string(e.Prefix)), true
		}
	case e.From == nil:
		c.wrong(field+".to", "has no from", "add from: the first key")
	case c.begin(field+".from", e.From):
		if e.To == nil {
			return interval{begin: string(e.From)}, true
		}
		if bytes.Compare(e.To, e.From) <= 0 {
			c.wrong(field+".to", "is not above from, so there is no key between", "swap them; for everything from a key on, leave out to")
			return interval{}, false
		}
		return interval{string(e.From), string(e.To)}, true
	}
	return interval{}, false
}

func (c *ruleCompiler) begin(field string, key []byte) bool {
	if len(key) == 0 {
		c.wrong(field, "is empty", "write {all: true} for every key")
		return false
	}
	if etcdapi.IsReserved(key) {
		c.wrong(field, `keys that start with the byte \x00 are reserved for etcdguard`, "begin with another byte")
		return false
	}
	return true
}
