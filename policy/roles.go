package policy

import (
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Role is a ready-made set of rights for a client that is known.
type Role struct {
	Name string
	For  string // whom, in one line
	// Parts are what it grants. Where a rule gives `keys`, they take the place of
	// the keys of the parts that are marked.
	Parts         []RolePart
	CompactionAge time.Duration // default for a role that may compact
}

// RolePart is actions on keys.
type RolePart struct {
	Actions []string // patterns of etcdapi.MatchActions
	Keys    string   // in words; "" where no action has keys
	keys    []interval
	yourOwn bool // the rule's keys replace them
}

// Roles returns the ready-made roles, in the order of the documentation.
func Roles() []Role {
	return []Role{
		{
			Name:          "kube-apiserver",
			For:           "Kubernetes' API server: what 1.37 was seen to send",
			CompactionAge: 4*time.Minute + 30*time.Second,
			Parts: []RolePart{
				{Actions: []string{"KV.Range", "KV.RangeStream", "KV.Txn", "Watch.Watch"},
					Keys: "prefix /registry/, or the rule's keys", keys: []interval{prefixed("/registry/")}, yourOwn: true},
				// Its compactors agree on who compacts through this key, which lies
				// outside every prefix. They never delete it.
				{Actions: []string{"KV.Range", "KV.Txn:Compare", "KV.Txn:Range", "KV.Txn:Put", "Watch.Watch"},
					Keys: "key compact_rev_key", keys: []interval{exactly("compact_rev_key")}},
				{Actions: []string{"KV.Compact", "Lease.LeaseGrant", "Maintenance.Status"}},
			},
		},
		{
			Name: "kubeadm-healthcheck",
			For:  "kubeadm's health-check client, and etcdctl endpoint health, endpoint status, member list",
			Parts: []RolePart{
				{Actions: []string{"KV.Range"}, Keys: "key health", keys: []interval{exactly("health")}},
				{Actions: []string{"Maintenance.Alarm:Get", "Maintenance.Status", "Cluster.MemberList", "Health.*", "HTTP.Health"}},
			},
		},
		{
			Name:  "backup",
			For:   "etcdctl snapshot save: every key and value, as stored, and nothing else",
			Parts: []RolePart{{Actions: []string{"Maintenance.Snapshot"}}},
		},
		{
			Name: "monitor",
			For:  "metrics and health, without a single key",
			Parts: []RolePart{{Actions: []string{"Maintenance.Status", "Maintenance.Alarm:Get", "Cluster.MemberList",
				"Health.*", "HTTP.Health", "HTTP.Metrics", "HTTP.Version", "Seal.Status"}}},
		},
		{
			Name:  "admin",
			For:   "everything that etcd can do, on every key",
			Parts: []RolePart{{Actions: []string{"*"}, Keys: "all", keys: []interval{everything}}},
		},
	}
}

func lookupRole(name string) (Role, bool) {
	for _, r := range Roles() {
		if r.Name == name {
			return r, true
		}
	}
	return Role{}, false
}

func roleNames() []string {
	var all []string
	for _, r := range Roles() {
		all = append(all, r.Name)
	}
	return all
}

// takesKeys reports whether a rule with the role may say which keys.
func (r Role) takesKeys() bool {
	for _, p := range r.Parts {
		if p.yourOwn {
			return true
		}
	}
	return false
}

// grants spells the role out for a rule with the given keys, which may be none.
func (r Role) grants(own []interval) []grant {
	var out []grant
	for _, p := range r.Parts {
		g := grant{keys: p.keys}
		if p.yourOwn && len(own) > 0 {
			g.keys = own
		}
		for _, pattern := range p.Actions {
			for _, a := range etcdapi.MatchActions(pattern) {
				g.actions.add(a)
			}
		}
		g.actions = g.actions.withImplied()
		out = append(out, g)
	}
	return out
}
