package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The version that kube-apiserver is told it has is written here and in its module.
func TestKubernetesVersionIsTheOneThatIsPinned(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "peers/kubernetes/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "k8s.io/kubernetes "+kubeVersion+"\n") &&
		!strings.Contains(string(mod), "k8s.io/kubernetes "+kubeVersion+" ") {
		t.Errorf("peers/kubernetes/go.mod does not require k8s.io/kubernetes %s; change kubeVersion or go.mod", kubeVersion)
	}
	staging := "v0." + strings.TrimPrefix(kubeVersion, "v1.")
	replaced := 0
	for line := range strings.Lines(string(mod)) {
		module, twin, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok {
			continue
		}
		if replaced++; twin != module+" "+staging {
			t.Errorf("peers/kubernetes/go.mod pins %s to %q, want %s", module, twin, staging)
		}
	}
	if replaced < 30 {
		t.Errorf("peers/kubernetes/go.mod replaces %d staging modules; Kubernetes has more than 30", replaced)
	}
}

// A baseline built with another grpc than its authors chose would be no baseline.
func TestStockEtcdIsBuiltAsReleased(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "peers/etcd/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"go.etcd.io/etcd/server/v3 v3.7.3", "go.etcd.io/etcd/etcdctl/v3 v3.7.3", "go.etcd.io/etcd/etcdutl/v3 v3.7.3",
		"google.golang.org/grpc v1.83.2", "go.etcd.io/bbolt v1.5.0",
	} {
		if !strings.Contains(string(mod), want) {
			t.Errorf("peers/etcd/go.mod does not choose %s", want)
		}
	}
}

func TestAnUnknownPeerIsRefusedByName(t *testing.T) {
	if _, err := Build(t.Context(), "etcdd", os.Stderr); err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("got %v, want an error that lists what there is", err)
	}
}
