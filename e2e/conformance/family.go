package main

import (
	"os"
	"path/filepath"
)

// family is suites of one author, which are pinned by one module and need the same
// around them.
type family struct {
	name     string
	pin      string            // folder of the module that pins the suites, relative to e2e/
	module   string            // has the suites; the baseline is of its version
	packages map[string]string // folder in the module, by the name that results bear
	build    []string          // more arguments of go test -c
	// fixtures is a folder of the module that the tests read; fixturesAt says where,
	// relative to the run, they look for it.
	fixtures   string
	fixturesAt func(version string) string
	// variables are the tests' environment, arguments their command line.
	variables func(*workshop) []string
	arguments func(*workshop) []string
	// baseline and differences are files beside this one.
	baseline, differences string
	// notice is said at the beginning.
	notice string
}

var ofEtcd = family{
	name: "etcd", pin: "conformance/suites", module: "go.etcd.io/etcd/tests/v3",
	packages:   map[string]string{common: "common", e2e: "e2e"},
	build:      []string{"-tags", "e2e"},
	fixtures:   "fixtures",
	fixturesAt: func(string) string { return "fixtures" },
	variables:  func(*workshop) []string { return []string{"E2E_TEST_MINIMAL=true"} },
	arguments:  func(w *workshop) []string { return []string{"-bin-dir", w.bin()} },
	baseline:   "baseline.json", differences: "differences.yaml",
	notice: "no etcd of an older release takes part, so tests that mix versions are left out (-list names them)",
}

// Kubernetes' integration tests start the "etcd" that they find in PATH, without TLS
// and on a unix socket, and kube-apiserver within their own process.
var ofKubernetes = family{
	name: "kubernetes", pin: "peers/kubernetes", module: "k8s.io/kubernetes",
	packages: map[string]string{kubeSecrets: "test/integration/secrets", kubeTransformation: "test/integration/controlplane/transformation"},
	// As kube-apiserver itself is built, so that what they share is compiled once.
	build:    []string{"-trimpath"},
	fixtures: kubeFixtures,
	// A test that was built with -trimpath looks for its sources where Bazel would
	// have put them.
	fixturesAt: func(version string) string {
		return filepath.Join("sources", "k8s.io", "kubernetes@"+version, kubeFixtures)
	},
	variables: func(w *workshop) []string {
		return []string{
			"PATH=" + w.bin() + string(os.PathListSeparator) + os.Getenv("PATH"),
			"TEST_SRCDIR=" + w.run, "TEST_WORKSPACE=sources",
			// An etcd that answers here is used instead of a new one. Nobody listens.
			"KUBE_INTEGRATION_ETCD_URL=http://127.0.0.1:1",
		}
	},
	arguments: func(*workshop) []string { return nil },
	baseline:  "kubernetes.json", differences: "kubernetes-differences.yaml",
	notice: "kube-apiserver runs in the process of its tests",
}

const kubeFixtures = "cmd/kube-apiserver/app/testing/testdata"

// familyOf is the family that a package belongs to.
func familyOf(pkg string) family {
	if _, ok := ofKubernetes.packages[pkg]; ok {
		return ofKubernetes
	}
	return ofEtcd
}
