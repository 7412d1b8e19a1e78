package policy

import (
	"github.com/etcdguard/etcdguard/etcdapi"
)

// Suggest says in one line how to allow an access.
func (p *Policy) Suggest(c Caller, a etcdapi.Action, r etcdapi.Range) string {
	return "add a rule to the policy"
}
