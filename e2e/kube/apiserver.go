// Package kube runs the real kube-apiserver on a cluster, with the one certificate
// that it is meant to have, and proves that this is enough and that nothing it was
// told is lost.
package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

// APIServer is a running kube-apiserver.
type APIServer struct {
	// Client is an administrator's, without a bound of its own on requests.
	Client *kubernetes.Clientset
	log    string
	cmd    *exec.Cmd
	exited chan error
}

// startTime bounds the way from nothing to /readyz; on a busy machine of two cores
// the server's own start takes most of it.
const startTime = 2 * time.Minute

// Start runs kube-apiserver on c. It shows etcd the certificate kube-apiserver and
// nothing else, compacts as often as asked, and is stopped when the test ends.
func Start(t testing.TB, c *cluster.Cluster, compaction time.Duration) *APIServer {
	t.Helper()
	binary := peers.Path(t, "kube-apiserver")
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	authority := cluster.NewAuthority(t, "users of kube-apiserver")
	cluster.WritePair(t, authority.Certificate(), file("users.crt"), file("users.key"))
	admin := authority.Issue(t, pkix.Name{CommonName: "e2e", Organization: []string{"system:masters"}})
	cluster.WritePair(t, admin, file("admin.crt"), file("admin.key"))
	cluster.WritePair(t, authority.Issue(t, pkix.Name{CommonName: "kube-apiserver"}), file("serving.crt"), file("serving.key"))
	writeServiceAccountKeys(t, file("sa.pub"), file("sa.key"))

	var servers []string
	for _, address := range c.Endpoints() {
		servers = append(servers, "https://"+address)
	}
	crt, key := c.Identity("kube-apiserver")
	address := freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	s := &APIServer{log: file("kube-apiserver.log"), exited: make(chan error, 1)}
	s.cmd = exec.Command(binary,
		"--etcd-servers="+strings.Join(servers, ","),
		"--etcd-cafile="+c.CAFile(), "--etcd-certfile="+crt, "--etcd-keyfile="+key,
		"--etcd-compaction-interval="+compaction.String(),
		"--bind-address="+host, "--secure-port="+port,
		// Stored in the endpoints of the service "kubernetes", which may not name a
		// loopback address; nobody here dials it (RFC 5737).
		"--advertise-address=192.0.2.1",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--tls-cert-file="+file("serving.crt"), "--tls-private-key-file="+file("serving.key"),
		"--client-ca-file="+file("users.crt"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+file("sa.pub"), "--service-account-signing-key-file="+file("sa.key"),
	)
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	t.Cleanup(func() { s.Stop(t) })

	s.Client, err = kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + address,
		QPS:  -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAFile: file("users.crt"), CertFile: file("admin.crt"), KeyFile: file("admin.key"),
		},
		Timeout: 30 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.waitReady(t)
	return s
}

func (s *APIServer) waitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()
	for {
		_, err := s.Client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			return
		}
		select {
		case exit := <-s.exited:
			s.exited <- exit
			t.Fatalf("kube-apiserver ended before it was ready: %v\n%s", exit, s.tail())
		case <-ctx.Done():
			t.Fatalf("kube-apiserver is not ready after %v: %v\n%s", startTime, err, s.tail())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Stop ends the server as a kubelet would: SIGTERM, and its own orderly shutdown,
// which writes to etcd once more. A second call does nothing.
func (s *APIServer) Stop(t testing.TB) {
	t.Helper()
	select {
	case exit := <-s.exited:
		s.exited <- exit
		return
	default:
	}
	if t.Failed() {
		t.Logf("kube-apiserver's last words:\n%s", s.tail())
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case exit := <-s.exited:
		s.exited <- exit
	case <-time.After(90 * time.Second):
		s.cmd.Process.Kill()
		t.Errorf("kube-apiserver did not stop within 90 s of SIGTERM\n%s", s.tail())
	}
}

// tail is the end of the server's log.
func (s *APIServer) tail() string {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	// While a member is down, each of some hundred channels says so every second.
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(log)), "\n"), func(line string) bool {
		return strings.Contains(line, "addrConn.createTransport failed")
	})
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

func writeServiceAccountKeys(t testing.TB, public, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	priv, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		public:  {Type: "PUBLIC KEY", Bytes: pub},
		private: {Type: "EC PRIVATE KEY", Bytes: priv},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(fmt.Errorf("looking for a free port: %w", err))
	}
	defer l.Close()
	return l.Addr().String()
}
