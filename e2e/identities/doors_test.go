package identities

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

// TestTheDoors knocks at both ports of every member with every kind of certificate
// and without any: who belongs elsewhere does not get past the handshake.
func TestTheDoors(t *testing.T) {
	c := cluster.Up(t, 3)
	refused, opened := 0, 0
	expect := func(name string, err error, open bool) {
		switch {
		case open && err != nil:
			t.Errorf("control: %s should be let in: %v", name, err)
		case !open && !isAlert(err):
			t.Errorf("%s should be turned away in the handshake: %v", name, err)
		case open:
			opened++
		default:
			refused++
		}
	}
	for _, m := range c.Members {
		for _, who := range identities(t, c) {
			expect(who.name+" at the client port of "+m.Name, shakeHands(m.ClientAddr(), who.config), who.inside)
		}
		member := m.PeerCertificate(t)
		expect("a member at the peer port of "+m.Name, members(m, c.PeerTLS(t, member)), true)
		for _, who := range identities(t, c) {
			if who.name == peer {
				continue
			}
			config := c.PeerTLS(t, nil)
			config.GetClientCertificate = who.config.GetClientCertificate
			expect(who.name+" at the peer port of "+m.Name, shakeHands(m.PeerAddr(), config), false)
		}
		for _, address := range []string{m.ClientAddr(), m.PeerAddr()} {
			if answer := plainHTTP(t, address); strings.Contains(answer, " 200 ") {
				t.Errorf("%s answers plain HTTP on %s: %q", m.Name, address, answer)
			}
			refused++
		}
	}
	t.Logf("%d handshakes and plain requests turned away, %d let in", refused, opened)
}

// shakeHands connects and waits for what the server thinks of it: with TLS 1.3 a
// client only learns by reading that its certificate was not accepted.
func shakeHands(address string, config *tls.Config) error {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(conn, "GET /no-such-page HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
		return alertBehind(conn, err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "HTTP/1.1 ") {
		return fmt.Errorf("answered with %q", answer)
	}
	return nil
}

// alertBehind reads the server's reason where a write found the connection closed.
func alertBehind(conn net.Conn, err error) error {
	if _, reason := conn.Read(make([]byte, 1)); reason != nil {
		return errors.Join(reason, err)
	}
	return err
}

// isAlert reports whether the other side ended a TLS handshake on purpose.
func isAlert(err error) bool {
	var alert tls.AlertError
	return err != nil && (errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls: ") ||
		// The alert was sent, and lost when the connection was reset behind it.
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// members asks what only members ask each other.
func members(m *cluster.Member, config *tls.Config) error {
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get(m.PeerURL + "/members")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"peerURLs"`)) {
		return fmt.Errorf("%s, %d bytes", response.Status, len(body))
	}
	return nil
}

// plainHTTP is the first line of the answer to a request without TLS.
func plainHTTP(t *testing.T, address string) string {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET /health HTTP/1.1\r\nHost: %s\r\n\r\n", address)
	answer, _ := bufio.NewReader(conn).ReadString('\n')
	return answer
}

// TestEtcdctlWorksForThoseWhoMay is the other side of least privilege: with the
// certificates of `up`, etcd's own tools do what each is for, and no more.
func TestEtcdctlWorksForThoseWhoMay(t *testing.T) {
	c := cluster.Up(t, 3)
	snapshot := filepath.Join(t.TempDir(), "snapshot.db")
	// A revision that every member has seen come, and that is too young to go.
	_, revision := fingerprint(t, c)
	newest := strconv.FormatInt(revision, 10)
	for _, row := range []struct {
		who  string
		args []string
		ok   bool
	}{
		{admin, []string{"put", secret, "x"}, true},
		{admin, []string{"get", "--prefix", "--keys-only", "/registry/"}, true},
		{admin, []string{"member", "list"}, true},
		{admin, []string{"elect", "--help"}, true},
		{healthcheck, []string{"endpoint", "health"}, true},
		{healthcheck, []string{"endpoint", "status"}, true},
		{healthcheck, []string{"get", secret}, false},
		{healthcheck, []string{"get", "--prefix", "--keys-only", "/"}, false},
		{monitor, []string{"endpoint", "status"}, true},
		{monitor, []string{"alarm", "list"}, true},
		{monitor, []string{"get", secret}, false},
		{backup, []string{"snapshot", "save", snapshot}, true},
		{backup, []string{"get", secret}, false},
		{backup, []string{"put", pod, "x"}, false},
		{apiserver, []string{"get", secret}, true},
		{apiserver, []string{"put", pod, "x"}, false},
		{apiserver, []string{"del", secret}, false},
		{apiserver, []string{"snapshot", "save", snapshot + ".stolen"}, false},
		{apiserver, []string{"member", "list"}, false},
		{apiserver, []string{"user", "add", "intruder:guess"}, false},
		{apiserver, []string{"compaction", newest}, false},
	} {
		out, err := etcdctl(t, c, row.who, row.args...)
		if (err == nil) != row.ok {
			t.Errorf("etcdctl %s as %s: %v\n%s", row.args[0], row.who, err, out)
		}
		if !row.ok && !strings.Contains(out, "permission denied") {
			t.Errorf("etcdctl %s as %s failed otherwise than by a denial:\n%s", row.args[0], row.who, out)
		}
	}
	status, err := exec.Command(peers.Path(t, "etcdutl"), "snapshot", "status", "-w", "json", snapshot).CombinedOutput()
	if err != nil || !bytes.Contains(status, []byte(`"totalKey":`)) {
		t.Errorf("etcdutl does not take the backup's snapshot: %v\n%s", err, status)
	}
	if _, err := os.Stat(snapshot + ".stolen"); err == nil {
		t.Error("a refused snapshot left a file behind")
	}
}

func etcdctl(t *testing.T, c *cluster.Cluster, who string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	crt, key := c.Identity(who)
	// One endpoint: etcdctl's snapshot takes no more.
	cmd := exec.CommandContext(ctx, peers.Path(t, "etcdctl"), args...)
	cmd.Env = append(os.Environ(), "ETCDCTL_ENDPOINTS=https://"+c.Members[0].ClientAddr(),
		"ETCDCTL_CACERT="+c.CAFile(), "ETCDCTL_CERT="+crt, "ETCDCTL_KEY="+key)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
