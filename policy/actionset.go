package policy

import (
	"strings"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// actionSet is a set of Actions, one bit each.
type actionSet [(etcdapi.ActionCount + 63) / 64]uint64

func setOf(actions ...etcdapi.Action) (s actionSet) {
	for _, a := range actions {
		s.add(a)
	}
	return s
}

func (s *actionSet) add(a etcdapi.Action)     { s[a/64] |= 1 << (a % 64) }
func (s actionSet) has(a etcdapi.Action) bool { return s[a/64]&(1<<(a%64)) != 0 }

// keyed reports whether any action in the set is judged on keys.
func (s actionSet) keyed() bool {
	for _, a := range etcdapi.Actions() {
		if s.has(a) && a.Keyed() {
			return true
		}
	}
	return false
}

// implications are the actions that come with another: who may do it alone may do
// it inside a transaction, and a compare tells what a read would. They do not hold
// the other way round: a bare Put is a thing that kube-apiserver never sends.
var implications = []struct{ granted, implied etcdapi.Action }{
	{etcdapi.KVRange, etcdapi.KVTxnRange},
	{etcdapi.KVRange, etcdapi.KVTxnCompare},
	{etcdapi.KVPut, etcdapi.KVTxnPut},
	{etcdapi.KVDeleteRange, etcdapi.KVTxnDeleteRange},
	// The envelope moves nothing by itself; any part needs it. Last, since what the
	// lines above imply implies it too.
	{etcdapi.KVTxnCompare, etcdapi.KVTxn},
	{etcdapi.KVTxnRange, etcdapi.KVTxn},
	{etcdapi.KVTxnPut, etcdapi.KVTxn},
	{etcdapi.KVTxnDeleteRange, etcdapi.KVTxn},
}

func (s actionSet) withImplied() actionSet {
	for _, i := range implications {
		if s.has(i.granted) {
			s.add(i.implied)
		}
	}
	return s
}

// serviceOf splits the name of an action, "KV.Txn:Put" into "KV" and "Txn:Put".
func serviceOf(a etcdapi.Action) (service, rest string) {
	service, rest, _ = strings.Cut(a.String(), ".")
	return service, rest
}
