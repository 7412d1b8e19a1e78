// Package peers builds the real programs that etcdguard is tested with, from the
// modules that their authors publish: stock etcd and its tools, kube-apiserver,
// and etcdguard itself from the checkout around this module.
//
// It trusts the Go checksum database for what it builds. It promises that a peer
// is built with its authors' own choice of dependencies (each family has a module
// of its own below this folder, so that etcd's grpc is not raised by Kubernetes
// or the reverse), that it is built once per version, and that two test processes
// which ask at the same time get one build.
package peers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Guard is the name of the program under test. It is built from the checkout on
// every call, because its source is what changes.
const Guard = "etcdguard"

// guardVariable is the environment variable that names a binary to test instead.
const guardVariable = "E2E_ETCDGUARD"

// kubeVersion is written into kube-apiserver as its release scripts do: without it,
// it calls itself v0.0.0-master. A test holds it to what go.mod pins.
const kubeVersion = "v1.37.2"

// peer is a program and where it comes from.
type peer struct {
	name    string
	module  string // folder of the module that pins it, relative to e2e/
	pkg     string // its main package
	ldflags string
	out     string // folder for the binary, relative to e2e/
}

var all = []peer{
	{name: "etcd", module: "peers/etcd", pkg: "go.etcd.io/etcd/server/v3", ldflags: "-s -w", out: "bin"},
	{name: "etcdctl", module: "peers/etcd", pkg: "go.etcd.io/etcd/etcdctl/v3", ldflags: "-s -w", out: "bin"},
	{name: "etcdutl", module: "peers/etcd", pkg: "go.etcd.io/etcd/etcdutl/v3", ldflags: "-s -w", out: "bin"},
	{name: "kube-apiserver", module: "peers/kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", ldflags: kubeFlags(), out: "bin"},
	{name: "etcd-3.4", module: "peers/etcd34", pkg: "go.etcd.io/etcd", ldflags: "-s -w", out: "bin"},
	{name: "etcd-3.5", module: "peers/etcd35", pkg: "go.etcd.io/etcd/server/v3", ldflags: "-s -w", out: "bin"},
	{name: "etcd-3.6", module: "peers/etcd36", pkg: "go.etcd.io/etcd/server/v3", ldflags: "-s -w", out: "bin"},
	{name: Guard, module: "..", pkg: "./cmd/etcdguard", out: "../bin"},
}

func kubeFlags() string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(kubeVersion, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X "+pkg+".gitVersion="+kubeVersion,
			"-X "+pkg+".gitMajor="+major,
			"-X "+pkg+".gitMinor="+minor,
		)
	}
	return strings.Join(flags, " ")
}

// Names are the programs that Build knows, in the order of their cost.
func Names() []string {
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	return names
}

// Path builds the named program if it has to be built, says so on stderr, and
// returns the binary's absolute path. It ends the test when that fails.
func Path(t testing.TB, name string) string {
	t.Helper()
	path, err := Build(t.Context(), name, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Build is Path for a caller that is no test; progress goes to w.
func Build(ctx context.Context, name string, w io.Writer) (string, error) {
	i := slices.IndexFunc(all, func(p peer) bool { return p.name == name })
	if i < 0 {
		return "", fmt.Errorf("building %q: not a known program; one of %s", name, strings.Join(Names(), ", "))
	}
	if binary := os.Getenv(guardVariable); name == Guard && binary != "" {
		fmt.Fprintf(w, "peers: %s is set: %s is tested, and not this checkout\n", guardVariable, binary)
		return filepath.Abs(binary)
	}
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	p := all[i]
	p.module, p.out = filepath.Join(root, p.module), filepath.Join(root, p.out)
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	unlock, err := lock(filepath.Join(p.out, "."+name+".lock"))
	if err != nil {
		return "", fmt.Errorf("building %s: %w", name, err)
	}
	defer unlock()
	return p.build(ctx, w)
}

// build compiles p unless a binary with the same stamp is there. The binary is
// renamed into place before the stamp is written: a build that is killed in
// between is made again.
func (p peer) build(ctx context.Context, w io.Writer) (string, error) {
	binary, stamp := filepath.Join(p.out, p.name), filepath.Join(p.out, "."+p.name+".stamp")
	want, err := p.stamp()
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want && p.name != Guard {
		if _, err := os.Stat(binary); err == nil {
			return binary, nil
		}
	}
	fmt.Fprintf(w, "peers: building %s from %s\n", p.name, p.pkg)
	fresh := binary + ".new"
	defer os.Remove(fresh)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", p.ldflags, "-o", fresh, p.pkg)
	build.Dir = p.module
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	build.Stdout, build.Stderr = w, w
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building %s: %w; run `go build %s` in %s to see it alone", p.name, err, p.pkg, p.module)
	}
	if err := os.Rename(fresh, binary); err != nil {
		return "", fmt.Errorf("building %s: %w", p.name, err)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return "", fmt.Errorf("building %s: %w", p.name, err)
	}
	fmt.Fprintf(w, "peers: %s is ready\n", p.name)
	return binary, nil
}

// stamp names everything that decides what the binary of a peer will be.
func (p peer) stamp() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, p.pkg, p.ldflags)
	for _, file := range []string{"go.mod", "go.sum"} {
		b, err := os.ReadFile(filepath.Join(p.module, file))
		if err != nil {
			return "", fmt.Errorf("building %s: %w", p.name, err)
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// lock holds an exclusive lock between processes until the returned func is called.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// moduleRoot is the folder of this module, looked for from the working directory
// upwards: tests run in their package's folder, the command anywhere inside.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.Contains(string(mod), "module github.com/etcdguard/etcdguard/e2e\n") {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("building peers: not inside the e2e module; run it from the e2e folder")
		}
		dir = parent
	}
}
