package member

import (
	"net"
	"syscall"
	"testing"
)

// CVE-2026-73500: thousands of connections whose handshake never ends must not
// keep those out who are who they say. The bounds are the member's own.
func TestHalfOpenHandshakesKeepNobodyOut(t *testing.T) {
	const attackers = 2000
	requireFiles(t, 2*attackers+1000)
	w := newWorld(t)
	m := w.start()
	admin := w.client("admin")
	_, err := admin.Put(withTimeout(t), "/w/a", "before")
	check(t, err)
	hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc} // the start of a client hello of 512 bytes
	for i := range attackers {
		c, err := net.Dial("tcp", w.clientAddr)
		check(t, err)
		t.Cleanup(func() { c.Close() })
		_, _ = c.Write(hello[:i%len(hello)])
		if i%500 == 0 {
			_, err := admin.Put(withTimeout(t), "/w/a", "during")
			check(t, err)
		}
	}
	_, err = w.client("admin").Put(withTimeout(t), "/w/a", "a new connection")
	check(t, err)
	if code, _, _ := get(t, w.curl("monitor"), "https://"+w.clientAddr+"/health"); code != 200 {
		t.Errorf("/health: %d", code)
	}
	// The oldest were given up: no more are held than the bound.
	eventually(t, "the oldest to be given up", func() bool {
		return m.metric(t, "etcdguard_handshakes_failed_total") >= attackers-1024
	})
}

// requireFiles makes sure that the process may have this many files open.
func requireFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	check(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur < n && limit.Max >= n {
		limit.Cur = n
		check(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	}
	if limit.Cur < n {
		t.Skipf("SKIPPED, NOT SHOWN: this process may open %d files and the test needs %d; raise the limit (ulimit -n)", limit.Cur, n)
	}
}
