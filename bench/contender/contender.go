package contender

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Contender is one way to serve etcd.
type Contender struct {
	Name  string // short, as in the figures
	Title string // for the reader of the figures

	binary string
	verb   []string
	// extra adds the flags that make this contender what it is.
	extra func(ctx context.Context, c Contender, home string) ([]string, error)
}

// The names of the contenders.
const (
	Stock      = "stock"
	StockSplit = "stock-split"
	Guard      = "etcdguard"
)

// New returns the contenders that the given binaries allow, stock etcd first.
// etcdguard may be empty: then stock competes with itself.
func New(stock, etcdguard string, does Does) ([]Contender, error) {
	all := []Contender{
		{Name: Stock, Title: "stock etcd, default serving", binary: stock, extra: none},
		{Name: StockSplit, Title: "stock etcd, separate HTTP listener", binary: stock, extra: splitHTTP},
	}
	if etcdguard != "" {
		all = append(all, Contender{Name: Guard, Title: "etcdguard member, " + does.String(), binary: etcdguard, verb: []string{"member"}, extra: does.configure})
	}
	var errs []error
	for i, c := range all {
		abs, err := filepath.Abs(c.binary)
		if err != nil {
			return nil, err
		}
		all[i].binary = abs
		if info, err := os.Stat(abs); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			errs = append(errs, fmt.Errorf("contender %s: %s is not a program: build it with make build (etcdguard) or pass -stock and -etcdguard", c.Name, abs))
		}
	}
	return all, errors.Join(errs...)
}

// Version is the first line that the program prints when asked for its version.
func (c Contender) Version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, c.binary, append(slices.Clone(c.verb), "--version")...).Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", c.Name, err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

// Start runs the contender on an empty data directory below home and returns
// when it answers, with flags of etcd's besides its own. ctx ends the wait, not the
// process: that is Stop's.
func (c Contender) Start(ctx context.Context, home string, pki *PKI, flags ...string) (*Process, error) {
	p, err := c.start(ctx, home, pki, flags)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	return p, nil
}

func (c Contender) start(ctx context.Context, home string, pki *PKI, flags []string) (*Process, error) {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	client, peer := "https://"+ports[0], "https://"+ports[1]
	extra, err := c.extra(ctx, c, home)
	if err != nil {
		return nil, err
	}
	args := slices.Concat(c.verb, []string{
		"--name=bench",
		"--data-dir=" + filepath.Join(home, "data"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=bench=" + peer,
		"--client-cert-auth", "--trusted-ca-file=" + pki.clientCA, "--cert-file=" + pki.serverCert, "--key-file=" + pki.serverKey,
		"--peer-client-cert-auth", "--peer-trusted-ca-file=" + pki.peerCA, "--peer-cert-file=" + pki.peerCert, "--peer-key-file=" + pki.peerKey,
	}, extra, flags)
	p, err := launch(c.binary, args, filepath.Join(home, "log"))
	if err != nil {
		return nil, err
	}
	p.Addr = ports[0]
	if err := p.untilReady(ctx, pki.Client()); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func none(context.Context, Contender, string) ([]string, error) { return nil, nil }

// splitHTTP moves HTTP/1.1 to a port of its own, which is what lets stock etcd
// serve gRPC without net/http in between.
func splitHTTP(context.Context, Contender, string) ([]string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	return []string{"--listen-client-http-urls=https://" + ports[0]}, nil
}

// freePorts finds loopback addresses that nobody listens on. Someone else may
// take one before the server does; then the server says so and the run ends.
func freePorts(n int) ([]string, error) {
	var found []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		// Closed on return only, so that the ports found differ.
		defer func() { _ = l.Close() }()
		found = append(found, l.Addr().String())
	}
	return found, nil
}
