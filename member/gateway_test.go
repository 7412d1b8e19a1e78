package member

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// startGateway starts a member that serves the JSON gateway, as its operator has
// asked for in both places.
func startGateway(w *world, changes ...string) *Member {
	w.t.Helper()
	w.guardConfig("unsafe-json-gateway: true\nunsafe-plaintext-clients: true\n")
	return w.start(append(changes, "enable-grpc-gateway=true")...)
}

// post is what curl -d does, with more headers, "name: value".
func post(t *testing.T, c *http.Client, url, body string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	check(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := c.Do(r)
	check(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(t, err)
	return answer.StatusCode, string(text)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestTheGatewayServesCallersAsThemselves(t *testing.T) {
	w := newWorld(t)
	m := startGateway(w)
	base := "https://" + w.clientAddr
	admin, watcher, stranger := w.curl("admin"), w.curl("watcher"), w.curl("stranger")
	put := fmt.Sprintf(`{"key": %q, "value": %q}`, b64("/w/a"), b64("hello"))
	if code, body := post(t, admin, base+"/v3/kv/put", put); code != 200 || !strings.Contains(body, `"revision":"2"`) {
		t.Fatalf("an admin's put: %d %s", code, body)
	}
	read := fmt.Sprintf(`{"key": %q}`, b64("/w/a"))
	for range 2 { // the second goes over the same connection
		if code, body := post(t, watcher, base+"/v3/kv/range", read); code != 200 || !strings.Contains(body, b64("hello")) {
			t.Errorf("a watcher's range of its prefix: %d %s", code, body)
		}
	}

	revision := m.etcd.Server.KV().Rev()
	// The headers by which etcd knows its own gateway, and those that proxies set,
	// are a client's to choose and change nothing.
	disguises := [][]string{
		nil,
		{"Grpc-Metadata-Grpcgateway-Accept: */*", "Grpc-Metadata-Grpcgateway-Authorization: root", "Grpc-Metadata-Grpcgateway-User-Agent: x"},
		{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost", "Forwarded: for=127.0.0.1"},
		{"Authorization: root", "Grpc-Metadata-Token: root"},
	}
	for _, headers := range disguises {
		for who, c := range map[string]*http.Client{"stranger": stranger, "watcher": watcher} {
			if code, body := post(t, c, base+"/v3/kv/put", put, headers...); code != http.StatusForbidden || !strings.Contains(body, "permission denied") {
				t.Errorf("a %s's put with %q: %d %s", who, headers, code, body)
			}
		}
		if code, body := post(t, stranger, base+"/v3/kv/range", read, headers...); code != http.StatusForbidden || strings.Contains(body, b64("hello")) {
			t.Errorf("a stranger's range with %q: %d %s", headers, code, body)
		}
	}
	for _, path := range []string{"/v3/maintenance/snapshot", "/v3/cluster/member/list", "/v3/auth/enable", "/v3/kv/txn", "/v3/lease/grant", "/v3/maintenance/status"} {
		if code, body := post(t, stranger, base+path, "{}"); code != http.StatusForbidden {
			t.Errorf("a stranger's %s: %d %.200s", path, code, body)
		}
	}
	if after := m.etcd.Server.KV().Rev(); after != revision {
		t.Errorf("denied calls moved the revision from %d to %d", revision, after)
	}
	// What the guard keeps from everybody, it keeps from the gateway's callers.
	if code, body := post(t, admin, base+"/v3/kv/put", fmt.Sprintf(`{"key": %q}`, b64("\x00etcdguard/x"))); code != http.StatusForbidden {
		t.Errorf("a put to the reserved space: %d %s", code, body)
	}
	for _, path := range []string{"/v3/lock/lock", "/v3/lock/unlock", "/v3/election/campaign", "/v3/election/proclaim", "/v3alpha/kv/range"} {
		if code, body := post(t, admin, base+path, "{}"); code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	// The rest of the port is as it was.
	if code, _, _ := get(t, stranger, base+"/health"); code != http.StatusForbidden {
		t.Errorf("a stranger's /health: %d", code)
	}
	if code, _, _ := get(t, admin, base+"/health"); code != http.StatusOK {
		t.Errorf("an admin's /health: %d", code)
	}
}

// A connection's gRPC side lasts exactly as long as the connection.
func TestTheGatewayKeepsOneConnectionForEachOfItsCallers(t *testing.T) {
	w := newWorld(t)
	m := startGateway(w)
	g := gatewayOf(t, m)
	clients := []*http.Client{w.curl("admin"), w.curl("watcher"), w.curl("stranger")}
	for _, c := range clients {
		for range 3 {
			post(t, c, "https://"+w.clientAddr+"/v3/kv/range", "{}")
		}
	}
	var made []*grpc.ClientConn
	g.conns.Range(func(_, conn any) bool {
		if c := conn.(*gatewayConn).conn; c != nil {
			made = append(made, c)
		}
		return true
	})
	if len(made) != len(clients) {
		t.Errorf("%d connections for %d callers", len(made), len(clients))
	}
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	eventually(t, "the connections to end with their callers'", func() bool {
		left := 0
		g.conns.Range(func(any, any) bool { left++; return true })
		for _, c := range made {
			if c.GetState() != connectivity.Shutdown {
				left++
			}
		}
		return left == 0
	})
}

func gatewayOf(t *testing.T, m *Member) *gateway {
	t.Helper()
	for _, s := range m.door.servers {
		if g, ok := s.Handler.(*gateway); ok {
			return g
		}
	}
	t.Fatal("the member has no gateway")
	return nil
}

// stream reads the JSON messages of a streamed answer.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	*bufio.Reader
}

func openStream(t *testing.T, c *http.Client, url, body string) *stream {
	t.Helper()
	answer, err := (&http.Client{Transport: c.Transport}).Post(url, "application/json", strings.NewReader(body))
	check(t, err)
	t.Cleanup(func() { answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d", url, answer.StatusCode)
	}
	return &stream{t, answer.Body, bufio.NewReader(answer.Body)}
}

func (s *stream) next() (map[string]any, error) {
	line, err := s.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var m map[string]any
	check(s.t, json.Unmarshal(line, &m))
	return m, nil
}

func TestWatchesOverTheGatewayAreTheirCallers(t *testing.T) {
	w := newWorld(t)
	m := startGateway(w)
	url := "https://" + w.clientAddr + "/v3/watch"
	create := func(key string) string { return fmt.Sprintf(`{"create_request": {"key": %q}}`, b64(key)) }
	watch := openStream(t, w.curl("watcher"), url, create("/w/a"))
	if first, err := watch.next(); err != nil || !strings.Contains(fmt.Sprint(first), "created:true") {
		t.Fatalf("the watch was answered with %v, %v", first, err)
	}
	denied := openStream(t, w.curl("watcher"), url, create("/secret"))
	if first, err := denied.next(); err != nil || !strings.Contains(fmt.Sprint(first), "canceled:true") || !strings.Contains(fmt.Sprint(first), "permission denied") {
		t.Errorf("a watch of a foreign key was answered with %v, %v", first, err)
	}
	_, err := w.client("admin").Put(withTimeout(t), "/w/a", "1")
	check(t, err)
	if event, err := watch.next(); err != nil || !strings.Contains(fmt.Sprint(event), b64("/w/a")) {
		t.Errorf("the watch got %v, %v", event, err)
	}
	m.Stop("the gateway's watches are told")
	if last, err := watch.next(); err == nil && !strings.Contains(fmt.Sprint(last), "the gateway's watches are told") {
		t.Errorf("the watch ended with %v", last)
	}
}

// A caller who is revoked loses what it opened through the gateway, too.
func TestARevokedCallerLosesItsWatchesOverTheGateway(t *testing.T) {
	w := newWorld(t)
	w.write("crl.pem", w.crl())
	startGateway(w, "client-crl-file="+w.file("crl.pem"))
	c := w.curl("watcher")
	watch := openStream(t, c, "https://"+w.clientAddr+"/v3/watch", fmt.Sprintf(`{"create_request": {"key": %q}}`, b64("/w/a")))
	_, err := watch.next()
	check(t, err)
	w.write("crl.pem", w.crl(c.Transport.(*http.Transport).TLSClientConfig.Certificates[0].Leaf))
	for err == nil {
		_, err = watch.next()
	}
}

// etcd's own users by certificate hold over the gateway as they do over gRPC.
func TestNativeUsersByCertificateHoldOverTheGateway(t *testing.T) {
	w := newWorld(t)
	w.write("policy.yaml", []byte(strings.Replace(thePolicy, "cn: [admin]", "cn: [admin, root, reader]", 1)))
	startGateway(w)
	admin := w.client("root")
	ctx := withTimeout(t)
	for _, err := range []error{
		second(admin.RoleAdd(ctx, "r")), second(admin.RoleGrantPermission(ctx, "r", "/w/", "/w0", clientv3.PermissionType(clientv3.PermRead))),
		second(admin.UserAddWithOptions(ctx, "root", "", &clientv3.UserAddOptions{NoPassword: true})), second(admin.UserGrantRole(ctx, "root", "root")),
		second(admin.UserAddWithOptions(ctx, "reader", "", &clientv3.UserAddOptions{NoPassword: true})), second(admin.UserGrantRole(ctx, "reader", "r")),
		second(admin.AuthEnable(ctx)),
	} {
		check(t, err)
	}
	reader, base := w.curl("reader"), "https://"+w.clientAddr
	if code, body := post(t, reader, base+"/v3/kv/range", fmt.Sprintf(`{"key": %q}`, b64("/w/a"))); code != http.StatusOK {
		t.Errorf("the range that etcd's role allows: %d %s", code, body)
	}
	if code, body := post(t, reader, base+"/v3/kv/put", fmt.Sprintf(`{"key": %q}`, b64("/w/a"))); code != http.StatusForbidden {
		t.Errorf("the put that etcd's role does not allow: %d %s", code, body)
	}
}

func second[T any](_ T, err error) error { return err }

func TestTheGatewayIsClosedUnlessAskedForTwice(t *testing.T) {
	for name, c := range map[string]struct {
		guard string
		flag  string
	}{
		"the option alone":            {"unsafe-json-gateway: true\n", "-"},
		"the option and the flag off": {"unsafe-json-gateway: true\n", "false"},
		"neither":                     {"", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.guardConfig(c.guard)
			w.start("enable-grpc-gateway=" + c.flag)
			if code, body := post(t, w.curl("admin"), "https://"+w.clientAddr+"/v3/kv/range", `{"key": "YQ=="}`); code != http.StatusNotFound {
				t.Errorf("POST /v3/kv/range: %d %s", code, body)
			}
		})
	}
}

func TestTheGatewayTakesWhatEtcdTakesAndNoMore(t *testing.T) {
	w := newWorld(t)
	plain := freeAddress(t)
	startGateway(w, "max-request-bytes=100000", "host-whitelist=good.example",
		"listen-client-urls=https://"+w.clientAddr+",http://"+plain)
	admin, url := w.curl("admin"), "https://"+w.clientAddr+"/v3/kv/put"
	body := func(n int) string {
		return fmt.Sprintf(`{"key": %q, "value": %q}`, b64("/w/a"), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, n)))
	}
	if code, answer := post(t, admin, url, body(99000)); code != http.StatusOK {
		t.Errorf("99,000 bytes: %d %.200s", code, answer)
	}
	if code, _ := post(t, admin, url, body(101_000)); code == http.StatusOK {
		t.Errorf("101,000 bytes: %d", code)
	}
	if code, _ := post(t, admin, url, body(3<<20)); code == http.StatusOK {
		t.Errorf("3 MiB: %d", code)
	}
	// Over plaintext a caller is nobody, and a foreign Host is a rebound name.
	for host, want := range map[string]int{"good.example": http.StatusForbidden, "evil.example": http.StatusMisdirectedRequest} {
		r, err := http.NewRequest(http.MethodPost, "http://"+plain+"/v3/kv/range", strings.NewReader(`{"key": "YQ=="}`))
		check(t, err)
		r.Host = host
		answer, err := http.DefaultClient.Do(r)
		check(t, err)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("Host %s: %d, want %d", host, answer.StatusCode, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
