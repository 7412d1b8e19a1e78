package member

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/guard"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/policy"
)

func page(t *testing.T) string {
	t.Helper()
	return string(mustRead(t, "../docs/member.md"))
}

// section is what stands under a heading of the page.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(page(t), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the page has no section %q", heading)
	}
	text, _, _ := strings.Cut(after, "\n## ")
	return text
}

func TestThePageHasEveryFieldOfTheGuardConfiguration(t *testing.T) {
	var shown []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-zA-Z-]+)` \\|").FindAllStringSubmatch(section(t, "guard.yaml"), -1) {
		shown = append(shown, row[1])
	}
	if !slices.Equal(shown, guardFields()) {
		t.Errorf("the page shows\n%q\nand the code has\n%q", shown, guardFields())
	}
}

func TestThePageHasEveryMetric(t *testing.T) {
	names := declared{}
	_, err := guard.NewMetrics(names)
	check(t, err)
	_, err = newMetrics(names)
	check(t, err)
	_, err = keyring.NewKeeper(keyring.KeeperConfig{Registry: names, Settle: time.Second})
	check(t, err)
	text := section(t, "Metrics")
	shown := map[string]bool{}
	for _, name := range regexp.MustCompile(`etcdguard_[a-z_]+`).FindAllString(text, -1) {
		shown[name] = true
		if !names[name] {
			t.Errorf("the page shows %s, which nothing exports", name)
		}
	}
	for name := range names {
		if !shown[name] {
			t.Errorf("the page lacks %s", name)
		}
	}
}

func TestTheAuditPageHasEveryMetric(t *testing.T) {
	names := declared{}
	l, err := audit.Open(t.Context(), audit.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20, Log: slog.New(slog.DiscardHandler), Registry: names})
	check(t, err)
	check(t, l.Close("the test is over"))
	shown := map[string]bool{}
	for _, name := range regexp.MustCompile(`etcdguard_audit_[a-z_]+`).FindAllString(string(mustRead(t, "../docs/audit.md")), -1) {
		shown[name] = true
	}
	if !maps.Equal(shown, names) {
		t.Errorf("the page shows %v, and the log has %v", shown, names)
	}
}

// The two files that the page gives an operator to start with are read as they stand.
func TestThePagesExamplesAreGood(t *testing.T) {
	dir := t.TempDir()
	files := 0
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page(t), -1) {
		text := regexp.MustCompile(`(?m)^   `).ReplaceAllString(block[1], "")
		name := regexp.MustCompile(`# /etc/etcd/(\S+)`).FindStringSubmatch(text)
		if name == nil {
			t.Fatalf("an example without a name:\n%s", text)
		}
		files++
		if strings.Contains(text, "sealing:") {
			name[1] = "sealed.yaml"
		}
		check(t, os.WriteFile(filepath.Join(dir, name[1]), []byte(text), 0o600))
	}
	if files != 3 {
		t.Fatalf("%d examples", files)
	}
	sealed, err := LoadGuardConfig(filepath.Join(dir, "sealed.yaml"))
	check(t, err)
	if sealed.Sealing == nil || len(sealed.Sealing.Providers) != 1 {
		t.Errorf("the example of sealing is read as %+v", sealed.Sealing)
	}
	c, err := LoadGuardConfig(filepath.Join(dir, "guard.yaml"))
	check(t, err)
	p, err := policy.Load(c.Policy)
	check(t, err)
	if p.Enforces() {
		t.Error("the policy to begin with denies")
	}
}
