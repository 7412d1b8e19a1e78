package local

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/pki"
)

// Check is one protection and what came of trying to get round it just now.
type Check struct {
	Protects string   `json:"protects"`
	How      string   `json:"how"`    // what was tried, and the control that worked
	Held     int      `json:"held"`   // members on which it held
	Of       int      `json:"of"`     // members asked
	Failed   []string `json:"failed"` // one line per member on which it did not hold, or could not be tried
}

// OK reports whether the protection held everywhere.
func (c Check) OK() bool { return len(c.Failed) == 0 && c.Held == c.Of && c.Of > 0 }

// check is one protection. try returns nil if it held on the member: the attempt
// was refused, and the control beside it was not. Without the control a member
// that answers nobody would pass for a safe one.
type check struct {
	protects, how string
	try           func(*attempt, context.Context) error
}

// attempt is what a check has to work with on one member.
type attempt struct {
	*Cluster
	at                                            placement
	admin, monitor, server, peer, foreign, nobody *pki.Leaf
	noNobody                                      error // why there is no nobody
}

var checks = []check{
	{"client port: no one without a certificate", "no certificate refused, admin's answered",
		func(a *attempt, ctx context.Context) error { return a.refusedAtClientPort(ctx, nil) }},
	{"client port: no one of another authority", "admin's name under a foreign CA refused, admin's answered",
		func(a *attempt, ctx context.Context) error { return a.refusedAtClientPort(ctx, a.foreign) }},
	{"client port: no member acts as a client", "the member's peer and server certificates refused, admin's answered",
		func(a *attempt, ctx context.Context) error {
			return errors.Join(a.refusedAtClientPort(ctx, a.peer), a.refusedAtClientPort(ctx, a.server))
		}},
	{"peer port: no client acts as a member", "admin's and no certificate refused, the peer's answered",
		func(a *attempt, ctx context.Context) error {
			return errors.Join(a.refusedAtPeerPort(ctx, a.admin), a.refusedAtPeerPort(ctx, nil))
		}},
	{"nothing in the clear", "plain HTTP refused on both ports, the same request under TLS answered", (*attempt).noPlainHTTP},
	{"deny by default", "a good certificate that no rule names: PermissionDenied; admin's read answered", (*attempt).denyByDefault},
	{"least privilege", "monitor's read of a key: PermissionDenied; its status answered", (*attempt).leastPrivilege},
	{"no JSON gateway, no debug pages", "POST /v3/kv/range, /debug/… as admin: not there; /version answered", (*attempt).noOtherPages},
	{"no service behind the guard's back", "Lock and Election as admin: Unimplemented; Status answered", (*attempt).noBackDoorServices},
	{"no port that is not declared", "the process's listening sockets are the three in etcd.yaml", (*attempt).onlyDeclaredPorts},
	{"keys and data are the owner's", "modes: keys 0600, folders 0700", (*attempt).privateFiles},
}

// Check tries every protection on every member, now.
func (c *Cluster) Check(ctx context.Context) ([]Check, error) {
	base, err := c.newAttempt()
	if err != nil {
		return nil, fmt.Errorf("preparing the checks: %w", err)
	}
	out := make([]Check, len(checks))
	for i, check := range checks {
		out[i] = Check{Protects: check.protects, How: check.how, Of: len(c.places)}
		errs := make([]error, len(c.places))
		var wait sync.WaitGroup
		for j, p := range c.places {
			wait.Go(func() { errs[j] = tryOn(ctx, check, base, p) })
		}
		wait.Wait()
		for j, err := range errs {
			if err != nil {
				out[i].Failed = append(out[i].Failed, c.places[j].name+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
				continue
			}
			out[i].Held++
		}
	}
	return out, nil
}

func tryOn(ctx context.Context, check check, base attempt, p placement) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askFor)
	defer cancel()
	base.at = p
	var err error
	if base.server, err = pki.LoadLeaf(base.member(p.name, "server.crt"), base.member(p.name, "server.key")); err != nil {
		return err
	}
	if base.peer, err = pki.LoadLeaf(base.member(p.name, "peer.crt"), base.member(p.name, "peer.key")); err != nil {
		return err
	}
	return check.try(&base, ctx)
}

// newAttempt makes the identities that must be refused. They live in memory for
// as long as the check, and are not written anywhere.
func (c *Cluster) newAttempt() (attempt, error) {
	a := attempt{Cluster: c}
	var err error
	if a.admin, err = c.loadClient("admin"); err != nil {
		return a, err
	}
	if a.monitor, err = c.loadClient("monitor"); err != nil {
		return a, err
	}
	foreign, err := pki.NewAuthority(pki.Clients, "", time.Now())
	if err != nil {
		return a, err
	}
	admin := pki.Profile{Use: pki.Client, Subject: a.admin.Certificate.Subject}
	if a.foreign, err = foreign.Issue(admin, time.Now()); err != nil {
		return a, err
	}
	clients, err := pki.LoadAuthority(pki.Clients, c.authority("client")+".crt", c.authority("client")+".key")
	if err != nil {
		return a, err
	}
	nobody := pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: "etcdguard-nobody"}}
	a.nobody, a.noNobody = clients.Issue(nobody, time.Now())
	return a, nil
}

func (a *attempt) refusedAtClientPort(ctx context.Context, as *pki.Leaf) error {
	return a.refused(ctx, a.at.client.String(), a.clientsCA(), "h2", as, a.admin)
}

func (a *attempt) refusedAtPeerPort(ctx context.Context, as *pki.Leaf) error {
	return a.refused(ctx, a.at.peer.String(), a.authority("peer")+".crt", "http/1.1", as, a.peer)
}

// refused has the port refuse one certificate and answer another.
func (a *attempt) refused(ctx context.Context, addr, ca, protocol string, as, control *pki.Leaf) error {
	if answered, err := speakTLS(ctx, addr, ca, protocol, control); err != nil || !answered {
		return fmt.Errorf("not tried: the control, %s, was not answered: %w", control.Certificate.Subject, errors.Join(err))
	}
	switch answered, err := speakTLS(ctx, addr, ca, protocol, as); {
	case answered && as == nil:
		return errors.New("answered without a certificate")
	case answered:
		return fmt.Errorf("answered %s, issued by %s", as.Certificate.Subject, as.Certificate.Issuer)
	default:
		return err
	}
}

func (a *attempt) noPlainHTTP(ctx context.Context) error {
	if err := a.refusedAtClientPort(ctx, nil); err != nil { // its control: the port is up and answers admin
		return err
	}
	for what, addr := range map[string]string{"client": a.at.client.String(), "peer": a.at.peer.String()} {
		if reply, err := speakPlain(ctx, addr); err != nil {
			return err
		} else if strings.HasPrefix(reply, "HTTP/1.1 2") {
			return fmt.Errorf("the %s port answered plain HTTP with %q", what, reply)
		}
	}
	return nil
}

func (a *attempt) denyByDefault(ctx context.Context) error {
	if a.noNobody != nil {
		return fmt.Errorf("not tried: %w", a.noNobody)
	}
	return errors.Join(
		a.must(ctx, a.admin, codes.OK, "reading a key", readKey),
		a.must(ctx, a.nobody, codes.PermissionDenied, "reading a key", readKey),
		a.must(ctx, a.nobody, codes.PermissionDenied, "asking for the status", readStatus))
}

func (a *attempt) leastPrivilege(ctx context.Context) error {
	return errors.Join(
		a.must(ctx, a.monitor, codes.OK, "asking for the status", readStatus),
		a.must(ctx, a.monitor, codes.PermissionDenied, "reading a key", readKey))
}

func (a *attempt) noBackDoorServices(ctx context.Context) error {
	return errors.Join(
		a.must(ctx, a.admin, codes.OK, "asking for the status", readStatus),
		// The two calls that would do no harm if they were served: an empty key is
		// unlocked nowhere and has no leader.
		a.must(ctx, a.admin, codes.Unimplemented, "Lock.Unlock", invoke("/v3lockpb.Lock/Unlock")),
		a.must(ctx, a.admin, codes.Unimplemented, "Election.Leader", invoke("/v3electionpb.Election/Leader")))
}

// must makes one call as the holder of a certificate and compares its outcome.
func (a *attempt) must(ctx context.Context, as *pki.Leaf, want codes.Code, doing string, call rpc) error {
	conn, err := a.connectAs(as, a.at.client)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = call(ctx, conn)
	if got := status.Code(err); got != want {
		return fmt.Errorf("%s as %s ended with %s, not %s: %s",
			doing, as.Certificate.Subject.CommonName, got, want, status.Convert(err).Message())
	}
	return nil
}

func (a *attempt) noOtherPages(ctx context.Context) error {
	addr := "https://" + a.at.client.String()
	browser, err := a.browserAs(a.admin)
	if err != nil {
		return err
	}
	defer browser.CloseIdleConnections()
	metrics := "http://" + a.at.metrics.String()
	var problems []error
	for _, page := range []struct {
		method, url string
		there       bool
	}{
		{"GET", addr + "/version", true},
		{"POST", addr + "/v3/kv/range", false},
		{"GET", addr + "/debug/vars", false},
		{"GET", addr + "/debug/pprof/", false},
		{"GET", metrics + "/metrics", true},
		{"POST", metrics + "/v3/kv/range", false},
		{"GET", metrics + "/debug/vars", false},
		{"GET", metrics + "/debug/pprof/", false},
	} {
		code, err := fetch(ctx, browser, page.method, page.url)
		switch {
		case err != nil:
			problems = append(problems, err)
		case page.there && code != 200:
			problems = append(problems, fmt.Errorf("not tried: the control, %s, answered %d", page.url, code))
		case !page.there && code < 400:
			problems = append(problems, fmt.Errorf("%s %s is there (%d)", page.method, page.url, code))
		}
	}
	return errors.Join(problems...)
}

func (a *attempt) onlyDeclaredPorts(context.Context) error {
	proc, err := a.process(a.at.name)
	if err != nil {
		return err
	}
	if proc.pid == 0 {
		return errors.New("not tried: the process is not running")
	}
	got, err := listening(proc.pid)
	if err != nil {
		return err
	}
	want := []string{a.at.client.String(), a.at.peer.String(), a.at.metrics.String()}
	for _, addr := range got {
		if !slices.Contains(want, addr) {
			err = errors.Join(err, fmt.Errorf("listens on %s, which etcd.yaml does not declare", addr))
		}
	}
	for _, addr := range want {
		if !slices.Contains(got, addr) { // the control: what is declared is seen
			err = errors.Join(err, fmt.Errorf("not tried: %s is declared, but was not seen among the process's sockets", addr))
		}
	}
	return err
}

// rpc is one call on a connection.
type rpc func(context.Context, grpcConn) error

func readStatus(ctx context.Context, conn grpcConn) error {
	_, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	return err
}
