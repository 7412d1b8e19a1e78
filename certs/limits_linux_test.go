package certs

import (
	"syscall"
	"testing"
)

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
