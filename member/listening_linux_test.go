package member

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// listening are the sockets of a process on which it can be spoken to: TCP that
// listens, every UDP, and Unix sockets that listen, from what the kernel says.
func listening(t *testing.T, pid int) []string {
	t.Helper()
	mine := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	check(t, err)
	for _, link := range links {
		target, err := os.Readlink(link)
		if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
			mine[strings.TrimSuffix(inode, "]")] = true
		}
	}
	found := map[string]bool{}
	const tcpListen, unixAcceptsConnections = "0A", "00010000"
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		for _, f := range socketTable(t, pid, table) {
			if mine[f[9]] && (f[3] == tcpListen || strings.HasPrefix(table, "udp")) {
				found[table[:3]+" "+hexAddress(t, f[1])] = true
			}
		}
	}
	for _, f := range socketTable(t, pid, "unix") {
		if mine[f[6]] && f[3] == unixAcceptsConnections {
			found["unix "+strings.Join(f[7:], "")] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// socketTable is one of the kernel's tables of sockets, a row of fields each.
func socketTable(t *testing.T, pid int, name string) (rows [][]string) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, name))
	check(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan() // the heading
	for lines.Scan() {
		rows = append(rows, strings.Fields(lines.Text()))
	}
	check(t, lines.Err())
	return rows
}

// hexAddress reads "0100007F:0050": 32-bit words in the machine's order.
func hexAddress(t *testing.T, s string) string {
	t.Helper()
	addr, port, _ := strings.Cut(s, ":")
	bytes, err := hex.DecodeString(addr)
	check(t, err)
	for word := 0; word < len(bytes); word += 4 {
		slices.Reverse(bytes[word : word+4])
	}
	n, err := strconv.ParseUint(port, 16, 16)
	check(t, err)
	return net.JoinHostPort(net.IP(bytes).String(), strconv.FormatUint(n, 10))
}

// Promise 1: no client request reaches etcd unguarded in this process. There is no
// door but the declared ones.
func TestTheProcessListensWhereItWasToldAndNowhereElse(t *testing.T) {
	w := newWorld(t)
	web, metrics, second := freeAddress(t), freeAddress(t), freeAddress(t)
	w.flags["listen-client-urls"] += ",https://" + second
	w.flags["listen-client-http-urls"] = "https://" + web
	w.flags["listen-metrics-urls"] = "http://" + metrics
	p := w.spawn()
	p.await(ready)
	_, err := w.client("admin").Put(withTimeout(t), "/w/a", "1") // and after it has served
	check(t, err)
	want := []string{}
	for _, addr := range []string{w.clientAddr, second, web, metrics, w.peerAddr} {
		want = append(want, "tcp "+addr)
	}
	slices.Sort(want)
	if got := listening(t, p.cmd.Process.Pid); !slices.Equal(got, want) {
		t.Errorf("the process listens on\n%q\nand was told\n%q", got, want)
	}
}

// The search finds what a member must not have: each kind of socket.
func TestTheSearchForListeningSocketsFindsThem(t *testing.T) {
	before := listening(t, os.Getpid())
	l4, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	defer l4.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(t, err)
	defer udp.Close()
	name := filepath.Join(t.TempDir(), "socket")
	unix, err := net.Listen("unix", name)
	check(t, err)
	defer unix.Close()
	want := []string{"tcp " + l4.Addr().String(), "udp " + udp.LocalAddr().String(), "unix " + name}
	if l6, err := net.Listen("tcp6", "[::1]:0"); err == nil { // where there is IPv6
		defer l6.Close()
		want = append(want, "tcp "+l6.Addr().String())
	}
	after := listening(t, os.Getpid())
	for _, one := range want {
		if slices.Contains(before, one) || !slices.Contains(after, one) {
			t.Errorf("%s is not found among %q", one, after)
		}
	}
}
