package local

import (
	"slices"
	"strings"
)

// AuditLog is where a member records what it is asked.
type AuditLog struct{ Member, Dir string }

// AuditLogs are the audit logs of these members, of all if none is named. Whether there
// is one yet is not looked at.
func (c *Cluster) AuditLogs(members ...string) ([]AuditLog, error) {
	var all []AuditLog
	var names []string
	for _, p := range c.places {
		names = append(names, p.name)
		if len(members) == 0 || slices.Contains(members, p.name) {
			all = append(all, AuditLog{p.name, c.member(p.name, "data", "audit")})
		}
	}
	for _, m := range members {
		if !slices.Contains(names, m) {
			return nil, withHint("one of "+strings.Join(names, ", "), "choosing the member %q: there is none of that name", m)
		}
	}
	return all, nil
}
