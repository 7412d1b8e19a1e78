package contender

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The policy's bulk: the bench caller is judged among the rules of a cluster
// with many tenants, not alone in an empty room.
const (
	tenants        = 40
	rulesPerTenant = 10
)

// guardConfig writes the guard's files below home and names them.
func guardConfig(home string) ([]string, error) {
	guard := filepath.Join(home, "guard.yaml")
	for path, text := range map[string]string{
		guard:                              "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\n",
		filepath.Join(home, "policy.yaml"): policyText(),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("writing the guard's configuration: %w", err)
		}
	}
	return []string{"--guard-config=" + guard}, nil
}

func policyText() string {
	var callers, rules strings.Builder
	fmt.Fprintf(&callers, "  - {name: bench, match: {cn: [%s]}}\n", clientName)
	for t := range tenants {
		fmt.Fprintf(&callers, "  - {name: team-%d, match: {cn: [team-%d]}}\n", t, t)
		for r := range rulesPerTenant {
			fmt.Fprintf(&rules, "  - {name: team-%d-%d, callers: [team-%d], actions: [KV.Range], keys: [{prefix: /team-%d/%d/}]}\n", t, r, t, t, r)
		}
	}
	// The caller under load comes last: a search from the top would show.
	rules.WriteString("  - {name: bench, callers: [bench], role: admin}\n")
	return "apiVersion: etcdguard.dev/v1\nkind: Policy\ncallers:\n" + callers.String() + "rules:\n" + rules.String()
}
