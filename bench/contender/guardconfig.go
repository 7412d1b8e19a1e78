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

// Does is what etcdguard does besides judging.
type Does struct {
	Sealing bool // a new cluster seals every value from birth
	Audit   bool // every request is recorded, on the disk that etcd has
}

func (d Does) String() string {
	does := "nothing sealed"
	if d.Sealing {
		does = "every value sealed"
	}
	if d.Audit {
		return does + ", every request recorded"
	}
	return does + ", nothing recorded"
}

// configure writes the guard's files below home and names them.
func (d Does) configure(ctx context.Context, c Contender, home string) ([]string, error) {
	text := guardText
	if d.Audit {
		text += "audit:\n  dir: audit\n"
	}
	if d.Sealing {
		key := filepath.Join(home, "ring.key")
		if out, err := exec.CommandContext(ctx, c.binary, "ring", "new-key-file", key).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("making a key file: %w: %s", err, out)
		}
		text += "sealing:\n  providers:\n    - name: local\n      local: {key-file: ring.key}\n"
	}
	return writeGuard(home, text)
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
