package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// AuditLog is where a member records what it is asked.
type AuditLog struct{ Member, Dir string }

// AuditLogs are the audit logs of these members, of all if none is named, as their
// guard.yaml has them. Whether there is one yet is not looked at.
func (c *Cluster) AuditLogs(members ...string) ([]AuditLog, error) {
	var all []AuditLog
	var names []string
	for _, p := range c.places {
		names = append(names, p.name)
		if len(members) > 0 && !slices.Contains(members, p.name) {
			continue
		}
		dir, err := c.auditDir(p.name)
		if err != nil {
			return nil, err
		}
		all = append(all, AuditLog{p.name, dir})
	}
	for _, m := range members {
		if !slices.Contains(names, m) {
			return nil, withHint("one of "+strings.Join(names, ", "), "choosing the member %q: there is none of that name", m)
		}
	}
	return all, nil
}

// auditDir is the directory of a member's audit log; member.AuditConfig has the
// default.
func (l layout) auditDir(member string) (string, error) {
	file := l.member(member, "guard.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading the configuration of %s: %w", member, err)
	}
	var guard struct {
		Audit *struct {
			Dir string `yaml:"dir"`
		} `yaml:"audit"`
	}
	if err := yaml.Unmarshal(data, &guard); err != nil {
		return "", fmt.Errorf("reading %s: %w", file, err)
	}
	switch {
	case guard.Audit == nil:
		return "", withHint(`add "audit: {}" to it, and restart the member`, "looking for the audit log of %s: %s has no audit section, so nothing is recorded", member, file)
	case guard.Audit.Dir == "":
		return l.member(member, "data", "audit"), nil
	case filepath.IsAbs(guard.Audit.Dir):
		return guard.Audit.Dir, nil
	}
	return filepath.Join(filepath.Dir(file), guard.Audit.Dir), nil
}
