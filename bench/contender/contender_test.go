package contender

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProcessorTimeSurvivesAStrangeName(t *testing.T) {
	// From proc_pid_stat(5): pid (comm) state ppid pgrp session tty tpgid flags
	// minflt cminflt majflt cmajflt utime stime …
	text := "42 (a) S 1) 9 (b)) S 1 2 3 4 5 6 7 8 9 10 111 222 13 14 20 0 1 0 100 0 0"
	got, err := parseStat(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := 3330 * time.Millisecond; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{"", "42", "42 (x) S 1 2", "42 (x) S 1 2 3 4 5 6 7 8 9 10 x y 13"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was read as a process", bad)
		}
	}
}

func TestMachineTimeLeavesOutIdleAndStolen(t *testing.T) {
	got, err := parseMachineStat("cpu  100 20 3 999999 888888 4 5 777777 66 55")
	if err != nil {
		t.Fatal(err)
	}
	if want := (100 + 20 + 3 + 4 + 5) * clockTick; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := parseMachineStat("intr 1 2 3 4 5 6 7 8"); err == nil {
		t.Error("a line that is not the machine's was read")
	}
}

// The real files of this process, so that the formats are the kernel's.
func TestUsageOfThisProcess(t *testing.T) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseStat(string(text)); err != nil {
		t.Error(err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"VmRSS:", "VmHWM:"} {
		if n, err := statusBytes(status, name); err != nil || n < 1<<20 {
			t.Errorf("%s is %d bytes (%v), want what a Go program needs at least", name, n, err)
		}
	}
	if _, err := statusBytes(status, "VmNone:"); err == nil {
		t.Error("a line that is not there was read")
	}
	if busy, err := MachineCPU(); err != nil || busy <= 0 {
		t.Errorf("the machine was busy for %v (%v)", busy, err)
	}
}

func TestCertificatesServeTheirPurposeAndNoOther(t *testing.T) {
	p, err := NewPKI(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := tls.LoadX509KeyPair(p.serverCert, p.serverKey)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := tls.LoadX509KeyPair(p.peerCert, p.peerKey)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(c tls.Certificate, usage x509.ExtKeyUsage) error {
		_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: p.roots, DNSName: "127.0.0.1", KeyUsages: []x509.ExtKeyUsage{usage}})
		return err
	}
	if err := verify(server, x509.ExtKeyUsageServerAuth); err != nil {
		t.Errorf("the server's certificate: %v", err)
	}
	if err := verify(p.client, x509.ExtKeyUsageClientAuth); err != nil {
		t.Errorf("the client's certificate: %v", err)
	}
	if verify(p.client, x509.ExtKeyUsageServerAuth) == nil {
		t.Error("the client's certificate can serve")
	}
	if verify(peer, x509.ExtKeyUsageServerAuth) == nil {
		t.Error("clients and peers share an authority")
	}
	for _, file := range []string{p.serverKey, p.peerKey} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("a private key is readable by others: %v", err)
		}
	}
}

func TestMissingBinariesAreNamedTogether(t *testing.T) {
	dir := t.TempDir()
	_, err := New(filepath.Join(dir, "no-etcd"), filepath.Join(dir, "no-guard"), Does{Sealing: true})
	if err == nil {
		t.Fatal("programs that do not exist are contenders")
	}
	for _, want := range []string{"no-etcd", "no-guard", "-stock", "make build"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %s: %v", want, err)
		}
	}
}

func TestAProcessThatDiesSaysWhy(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := launch("/bin/sh", []string{"-c", "echo no such luck >&2; exit 3"}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	p.Addr = "127.0.0.1:1" // nobody answers there
	err = p.untilReady(t.Context(), &tls.Config{})
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want its last words and status", err)
	}
}

func TestAPausedProcessStops(t *testing.T) {
	p, err := launch("/bin/sleep", []string{"3600"}, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if p.Alive() == nil {
		t.Error("it is still alive after Stop")
	}
}

func TestPolicyIsNotTrivial(t *testing.T) {
	text := policyText()
	if n := strings.Count(text, "\n  - {name: team-"); n != tenants+tenants*rulesPerTenant {
		t.Errorf("%d callers and rules besides the one under load, want %d", n, tenants+tenants*rulesPerTenant)
	}
	if !strings.HasSuffix(text, "  - {name: bench, callers: [bench], role: admin}\n") {
		t.Error("the caller under load is not matched by the last rule")
	}
}
