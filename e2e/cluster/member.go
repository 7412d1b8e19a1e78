package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// ClientAddr and PeerAddr are the member's ports, as host:port.
func (m *Member) ClientAddr() string { return address(m.ClientURL) }
func (m *Member) PeerAddr() string   { return address(m.PeerURL) }

func address(url string) string {
	first, _, _ := strings.Cut(url, ",")
	return strings.TrimPrefix(strings.TrimPrefix(first, "https://"), "http://")
}

// PeerTLS is the configuration of a client that trusts the peer ports and shows
// cert to them.
func (c *Cluster) PeerTLS(t testing.TB, cert *tls.Certificate) *tls.Config {
	t.Helper()
	return withCA(t, filepath.Join(c.Dir, "pki", "peer-ca.crt"), cert)
}

// PeerCertificate is the certificate that the member shows to other members.
func (m *Member) PeerCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(m.dir, "peer.crt"), filepath.Join(m.dir, "peer.key"))
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

// File is a file or folder of the member.
func (m *Member) File(name string) string { return filepath.Join(m.dir, name) }

// Get asks the member's client port over HTTP/1.1 as the admin of c.
func (m *Member) Get(t testing.TB, c *Cluster, path string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return m.get(ctx, c.TLS(t, "admin"), path)
}

// PID is the process that the member wrote down.
func (m *Member) PID(t testing.TB) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.dir, "member.pid"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw))
	if len(fields) == 0 {
		t.Fatalf("%s/member.pid is empty", m.dir)
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil || pid <= 1 {
		t.Fatalf("%s/member.pid does not start with a process id: %q", m.dir, raw)
	}
	return pid
}

// Kill sends SIGKILL to the member and waits until its port is closed.
func (m *Member) Kill(t testing.TB) {
	t.Helper()
	pid := m.PID(t)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("killing %s (%d): %v", m.Name, pid, err)
	}
	for range 100 {
		if syscall.Kill(pid, 0) == syscall.ESRCH || zombie(pid) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s (%d) is still there after SIGKILL", m.Name, pid)
}

// zombie reports whether pid is dead and only waits to be collected.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(after, []byte("Z"))
}

// LogLines are the lines of the member's log that hold every one of the words.
func (m *Member) LogLines(t testing.TB, words ...string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.dir, "member.log"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
next:
	for line := range strings.Lines(string(raw)) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue next
			}
		}
		found = append(found, strings.TrimSpace(line))
	}
	return found
}

// Decision names a series of etcdguard_decisions_total.
type Decision struct{ Caller, Action, Result string }

// Decisions is what the member has counted since it started, read over its client
// port with the certificate in config.
func (m *Member) Decisions(ctx context.Context, config *tls.Config) (map[Decision]int, error) {
	const name = "etcdguard_decisions_total"
	code, body, err := m.get(ctx, config, "/metrics")
	if err == nil && code != http.StatusOK {
		err = errors.New(http.StatusText(code))
	}
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of %s: %w", m.Name, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of %s: %w", m.Name, err)
	}
	counts := map[Decision]int{}
	for _, metric := range families[name].GetMetric() {
		counts[decisionOf(metric.GetLabel())] += int(metric.GetCounter().GetValue())
	}
	return counts, nil
}

// get asks the member's client port over HTTP/1.1.
func (m *Member) get(ctx context.Context, config *tls.Config, path string) (code int, body string, err error) {
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+m.ClientAddr()+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func decisionOf(labels []*dto.LabelPair) (d Decision) {
	for _, l := range labels {
		switch l.GetName() {
		case "caller":
			d.Caller = l.GetValue()
		case "action":
			d.Action = l.GetValue()
		case "result":
			d.Result = l.GetValue()
		}
	}
	return d
}
