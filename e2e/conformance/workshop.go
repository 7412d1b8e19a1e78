package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

const e2eModule = "github.com/etcdguard/etcdguard/e2e"

// workshop is where a run happens: a copy of what the suites read, since they also
// write beside it and the module cache is nobody's to write to.
type workshop struct {
	family
	source  string // the folder of this command
	pinned  string // the folder of the module that pins the suites
	version string // of the suites
	run     string // emptied for each run
	cache   string // where the compiled suites are kept
	unlock  func()
}

// open prepares an empty workshop and holds it: the suites use fixed ports and
// sockets, so one run of each family is all that a machine can bear.
func open(ctx context.Context, f family) (*workshop, error) {
	root, err := ask(ctx, "", "go", "list", "-m", "-f", "{{.Dir}}", e2eModule)
	if err != nil {
		return nil, fmt.Errorf("finding the e2e module: %w; run this inside the e2e folder", err)
	}
	w := &workshop{family: f, source: filepath.Join(root, "conformance"), pinned: filepath.Join(root, f.pin),
		cache: filepath.Join(root, "..", ".cache", "conformance", f.name)}
	w.run = filepath.Join(w.cache, "run")
	module, err := ask(ctx, w.pinned, "go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", f.module)
	if err != nil {
		return nil, fmt.Errorf("finding the suites of %s: %w; run `go mod download` in %s", f.name, err, w.pinned)
	}
	version, dir, found := strings.Cut(module, " ")
	if !found {
		return nil, fmt.Errorf("the suites of %s are not in the module cache; run `go mod download` in %s", f.name, w.pinned)
	}
	w.version = version
	if w.unlock, err = w.lock(); err != nil {
		return nil, err
	}
	if err := w.layOut(dir); err != nil {
		w.unlock()
		return nil, fmt.Errorf("preparing the run: %w", err)
	}
	return w, nil
}

// lock holds the machine's ports and this folder, which another run may share
// without the other (a container; a second checkout).
func (w *workshop) lock() (unlock func(), err error) {
	var held []*os.File
	unlock = func() {
		for _, f := range held {
			f.Close()
		}
	}
	for _, dir := range []string{os.TempDir(), w.cache} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(filepath.Join(dir, "etcdguard-conformance-"+w.name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			held = append(held, f)
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			unlock()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("another conformance run holds %s; the suites use fixed ports, wait for it", f.Name())
			}
			return nil, fmt.Errorf("locking: %w", err)
		}
	}
	return unlock, nil
}

func (w *workshop) bin() string { return filepath.Join(w.run, "bin") }
func (w *workshop) tmp() string { return filepath.Join(w.run, "tmp") }

// layOut makes the folders of a run. The keys among the fixtures are open to all
// where they come from, which a member refuses; here they are not.
func (w *workshop) layOut(module string) error {
	if err := os.RemoveAll(w.run); err != nil {
		return err
	}
	fixtures := filepath.Join(w.run, w.fixturesAt(w.version))
	dirs := []string{w.bin(), w.tmp(), fixtures}
	for pkg := range w.packages {
		dirs = append(dirs, filepath.Join(w.run, pkg))
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(filepath.Join(module, w.fixtures))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := copyFile(filepath.Join(module, w.fixtures, f.Name()), filepath.Join(fixtures, f.Name()), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// furnish puts the programs where the suites look for them. No etcd of an older
// release is among them: the tests that want one are left out, or skip.
func (w *workshop) furnish(ctx context.Context, underTest string, sealing bool) error {
	var programs []string
	for _, p := range []struct{ peer, as string }{{underTest, "etcd"}, {"etcdctl", "etcdctl"}, {"etcdutl", "etcdutl"}} {
		from := p.peer
		if !filepath.IsAbs(from) {
			var err error
			if from, err = peers.Build(ctx, p.peer, os.Stderr); err != nil {
				return err
			}
		}
		programs = append(programs, from)
		// A copy, not a link: the processes of a run are known by their program's path.
		if err := copyFile(from, filepath.Join(w.bin(), p.as), 0o700); err != nil {
			return err
		}
	}
	guard := guardConfig
	if sealing {
		if _, err := ask(ctx, w.run, programs[0], "ring", "new-key-file", "ring-kek.key"); err != nil {
			return fmt.Errorf("making a key file: %w", err)
		}
		guard += sealingConfig
	}
	for name, text := range map[string]string{"guard.yaml": guard, "policy.yaml": allowAll} {
		if err := os.WriteFile(filepath.Join(w.run, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// guardConfig opens what the suites need: half of them know no TLS, and the other
// half has one authority for clients and members.
const guardConfig = `apiVersion: etcdguard.dev/v1
kind: Guard
policy: policy.yaml
unsafe-plaintext-clients: true
unsafe-anonymous-clients: true
unsafe-shared-ca: true
unsafe-peers: true
unsafe-pprof: true
unsafe-json-gateway: true
unsafe-open-data-dir: true
`

// sealingConfig seals every new cluster from its birth.
const sealingConfig = `sealing:
  providers:
    - {name: local, local: {key-file: ring-kek.key}}
`

// allowAll lets everybody do everything, through all of the guard.
const allowAll = `apiVersion: etcdguard.dev/v1
kind: Policy
callers:
  - name: nobody
    match: {anonymous: true}
  - name: somebody
    match: {anyCertificate: true}
rules:
  - name: everything
    callers: [nobody, somebody]
    role: admin
`

// environment is what the test binary gets, and through it the members: ETCD_
// variables and PATH reach them.
func (w *workshop) environment(guarded bool) []string {
	env := append([]string{"TMPDIR=" + w.tmp()}, w.variables(w)...)
	ours := map[string]bool{}
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		ours[name] = true
	}
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); {
		case ours[name], strings.HasPrefix(name, "ETCD"), strings.HasPrefix(name, "EXPECT_"), strings.HasPrefix(name, "KUBE"):
		default:
			env = append(env, v)
		}
	}
	if guarded {
		// The gateway wants to be asked for twice; in stock etcd it is on by default.
		env = append(env, "ETCD_GUARD_CONFIG="+filepath.Join(w.run, "guard.yaml"), "ETCD_ENABLE_GRPC_GATEWAY=true")
	}
	return env
}

// compile builds the tests of a package, once per version of them and of Go.
func (w *workshop) compile(ctx context.Context, pkg string) (string, error) {
	goVersion, err := ask(ctx, w.pinned, "go", "env", "GOVERSION")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(w.cache, fmt.Sprintf("%s-%s-%s.test", pkg, w.version, goVersion))
	if _, err := os.Stat(binary); !errors.Is(err, fs.ErrNotExist) {
		return binary, err
	}
	fmt.Fprintf(os.Stderr, "conformance: building %s of %s, which takes minutes the first time\n", pkg, w.name)
	arguments := append([]string{"test", "-c", "-o", binary + ".new"}, w.build...)
	build := exec.CommandContext(ctx, "go", append(arguments, w.module+"/"+w.packages[pkg])...)
	build.Dir, build.Env = w.pinned, append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building %s of %s: %w", pkg, w.name, err)
	}
	return binary, os.Rename(binary+".new", binary)
}

// ask runs a command and returns the line that it prints.
func ask(ctx context.Context, dir string, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env, c.Stderr = dir, append(os.Environ(), "GOWORK=off"), os.Stderr
	out, err := c.Output()
	return strings.TrimSpace(string(out)), err
}

func copyFile(from, to string, mode fs.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, mode)
}
