package mutants

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	flagRun  = flag.Bool("mutants", false, "plant each mutant and require that a test notices it")
	flagOnly = flag.String("mutants.only", "", "plant only mutants whose name contains this")
)

// mutant is one bug.
type mutant struct {
	name string // what the code then does
	file string // of the module
	old  string // stands in file exactly once
	new  string
	// differential asks for the differential run even when a unit test notices the
	// mutant first, and requires that it notices too.
	differential bool
	// sealed makes that a run with sealing on, and is for bugs that are none without.
	sealed bool
}

// all are all bugs.
var all = slices.Concat(planted, plantedInSealing, plantedInRecording)

// unitPackages are the packages whose tests look at the guard from near by.
var unitPackages = []string{"./etcdapi", "./guard"}

const (
	root              = "../../.."
	differentialTest  = "TestTheGuardedMemberAnswersAsStockEtcdDoes"
	sealedTest        = "TestTheSealedMemberAnswersAsStockEtcdDoes"
	differentialRoom  = "./member"
	differentialSteps = "3000"
)

func patched(m mutant) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s holds the text of %q %d times, not once: write the mutant anew for the source as it is", m.file, m.name, n)
	}
	return bytes.Replace(source, []byte(m.old), []byte(m.new), 1), nil
}

func TestEveryMutantFits(t *testing.T) {
	if len(planted) < 20 || len(plantedInSealing) < 12 {
		t.Fatalf("only %d and %d mutants", len(planted), len(plantedInSealing))
	}
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.name] {
			t.Errorf("two mutants are called %q", m.name)
		}
		seen[m.name] = true
		source, err := patched(m)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, source, 0); err != nil {
			t.Errorf("%q makes no Go of %s: %v", m.name, m.file, err)
		}
	}
}

func TestEveryMutantIsNoticed(t *testing.T) {
	if !*flagRun {
		t.Skip("takes twenty minutes: go test ./internal/difftest/mutants -mutants -timeout 2h -v")
	}
	if failed, out := noticedBy(t, "", append([]string{"-run", "."}, unitPackages...)...); len(failed) > 0 {
		t.Fatalf("the tests fail without a mutant (%s): nothing can be learnt\n%s", strings.Join(failed, ", "), out)
	}
	var report strings.Builder
	for _, m := range all {
		if !strings.Contains(m.name, *flagOnly) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			overlay := lay(t, m)
			if out, err := goCommand(append([]string{"build", "-overlay", overlay, differentialRoom}, unitPackages...)...); err != nil {
				t.Fatalf("does not build: %v\n%s", err, out)
			}
			unit, _ := noticedBy(t, overlay, unitPackages...)
			by := unit
			if len(unit) == 0 || m.differential || m.sealed {
				gate := differentialTest
				if m.sealed {
					gate = sealedTest
				}
				diff, out := noticedBy(t, overlay, "-run", "^"+gate+"$", differentialRoom,
					"-args", "-difftest.seed=1", "-difftest.steps="+differentialSteps)
				if len(diff) == 0 && (m.differential || m.sealed) {
					t.Errorf("the differential run does not notice it:\n%s", out)
				}
				by = append(by, diff...)
			}
			if len(by) == 0 {
				t.Errorf("no test notices it")
				by = []string{"NOBODY"}
			}
			if len(by) > 3 {
				by = append(by[:3:3], fmt.Sprintf("and %d more", len(by)-3))
			}
			fmt.Fprintf(&report, "%-60s %s\n", m.name, strings.Join(by, ", "))
		})
	}
	t.Logf("noticed by\n%s", report.String())
}

// lay writes the overlay that puts the mutant in the place of its file.
func lay(t *testing.T, m mutant) string {
	t.Helper()
	source, err := patched(m)
	if err != nil {
		t.Fatal(err)
	}
	original, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	copied := filepath.Join(dir, filepath.Base(m.file))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: copied}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	for name, data := range map[string][]byte{copied: source, file: overlay} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// noticedBy runs tests and returns the names of those that fail. A run that fails
// without a failed test (it does not build, it hangs) proves nothing and is an error,
// unless the test binary itself crashed.
func noticedBy(t *testing.T, overlay string, args ...string) (failed []string, output string) {
	t.Helper()
	all := []string{"test", "-json", "-count=1", "-vet=off", "-timeout=3m"}
	if overlay != "" {
		all = append(all, "-overlay", overlay)
	}
	out, err := goCommand(append(all, args...)...)
	var text strings.Builder
	crashed := false
	for _, line := range bytes.Split(out, []byte("\n")) {
		var event struct{ Action, Package, Test, Output string }
		if json.Unmarshal(line, &event) != nil {
			text.Write(line)
			text.WriteByte('\n')
			continue
		}
		text.WriteString(event.Output)
		crashed = crashed || strings.HasPrefix(event.Output, "panic: ") || strings.HasPrefix(event.Output, "fatal error: ")
		if event.Action == "fail" && event.Test != "" && !strings.Contains(event.Test, "/") {
			failed = append(failed, event.Test)
		}
	}
	slices.Sort(failed)
	if err != nil && len(failed) == 0 {
		if !crashed {
			t.Fatalf("go %s failed without a failed test: %v\n%s", strings.Join(args, " "), err, text.String())
		}
		failed = []string{"a crash"}
	}
	return failed, text.String()
}

func goCommand(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	return cmd.CombinedOutput()
}
