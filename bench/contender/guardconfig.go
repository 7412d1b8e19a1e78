package contender

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The policy's bulk: the bench caller is judged among the rules of a cluster
// with many tenants, not alone in an empty room.
const (
	tenants        = 40
	rulesPerTenant = 10
)

const guardText = "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\n"

// guardConfig writes the guard's files below home and names them.
func guardConfig(_ context.Context, _ Contender, home string) ([]string, error) {
	return writeGuard(home, guardText)
}

// sealed is guardConfig for a new cluster that seals from birth.
func sealed(ctx context.Context, c Contender, home string) ([]string, error) {
	key := filepath.Join(home, "ring.key")
	if out, err := exec.CommandContext(ctx, c.binary, "ring", "new-key-file", key).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a key file: %w: %s", err, out)
	}
	return writeGuard(home, guardText+"sealing:\n  providers:\n    - name: local\n      local: {key-file: ring.key}\n")
}

func writeGuard(home, text string) ([]string, error) {
	guard := filepath.Join(home, "guard.yaml")
	for path, text := range map[string]string{
		guard:                              text,
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
