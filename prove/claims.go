package prove

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/pki"
)

// doors are the claims about who gets in, and what for.
var doors = []claim{
	{"client port: no one without a certificate", "no certificate refused, admin's answered",
		simply(func(a *attempt, ctx context.Context) error { return a.refusedAtClientPort(ctx, nil) })},
	{"client port: no one of another authority", "admin's name under a foreign CA refused, admin's answered",
		simply(func(a *attempt, ctx context.Context) error { return a.refusedAtClientPort(ctx, a.foreign) })},
	{"client port: no one whose time is over", "an expired certificate in admin's name refused, admin's answered", simply((*attempt).noExpired)},
	{"client port: no member acts as a client", "the member's peer and server certificates refused, admin's answered",
		simply(func(a *attempt, ctx context.Context) error {
			return errors.Join(a.refusedAtClientPort(ctx, a.PeerLeaf), a.refusedAtClientPort(ctx, a.Server))
		})},
	{"peer port: no client acts as a member", "admin's, a foreign and no certificate refused, the peer's answered",
		simply(func(a *attempt, ctx context.Context) error {
			return errors.Join(a.refusedAtPeerPort(ctx, a.Admin), a.refusedAtPeerPort(ctx, a.foreign), a.refusedAtPeerPort(ctx, nil))
		})},
	{"nothing in the clear", "plain HTTP refused on both ports, the same request under TLS answered", simply((*attempt).noPlainHTTP)},
	{"deny by default", "a good certificate that no rule names: PermissionDenied; admin's read answered", simply((*attempt).denyByDefault)},
	{"least privilege", "monitor's read of a key: PermissionDenied; its status answered", simply((*attempt).leastPrivilege)},
	{"no JSON gateway, no debug pages", "POST /v3/kv/range, /debug/… as admin: not there; /version answered", simply((*attempt).noOtherPages)},
	{"no service behind the guard's back", "Lock and Election as admin: Unimplemented; Status answered", simply((*attempt).noBackDoorServices)},
	{"no port that is not declared", "the process's listening sockets are those that its configuration declares", simply((*attempt).onlyDeclaredPorts)},
	{"keys and data are the owner's", "modes: keys 0600, folders 0700", simply((*attempt).privateFiles)},
}

// Doors tries, on every node, who gets in and what for. It changes nothing.
func Doors(ctx context.Context, nodes []Node, callers Callers) []Finding {
	return run(ctx, doors, nodes, callers)
}

func (a *attempt) refusedAtClientPort(ctx context.Context, as *pki.Leaf) error {
	return a.refused(ctx, a.Client, a.ClientCA, "h2", as, a.Admin)
}

func (a *attempt) refusedAtPeerPort(ctx context.Context, as *pki.Leaf) error {
	return a.refused(ctx, a.Peer, a.PeerCA, "http/1.1", as, a.PeerLeaf)
}

// refused has the port refuse one certificate and answer another.
func (a *attempt) refused(ctx context.Context, addr, ca, protocol string, as, control *pki.Leaf) error {
	if answered, err := speakTLS(ctx, addr, ca, protocol, control); err != nil || !answered {
		return untried("the control, %s, was not answered: %w", control.Certificate.Subject, errors.Join(err))
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

func (a *attempt) noExpired(ctx context.Context) error {
	if a.noNobody != nil {
		return a.noNobody
	}
	return a.refusedAtClientPort(ctx, a.expired)
}

func (a *attempt) noPlainHTTP(ctx context.Context) error {
	if err := a.refusedAtClientPort(ctx, nil); err != nil { // its control: the port is up and answers admin
		return err
	}
	for what, addr := range map[string]string{"client": a.Client, "peer": a.Peer} {
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
		return a.noNobody
	}
	return errors.Join(
		a.must(ctx, a.Admin, codes.OK, "reading a key", readKey),
		a.must(ctx, a.nobody, codes.PermissionDenied, "reading a key", readKey),
		a.must(ctx, a.nobody, codes.PermissionDenied, "asking for the status", readStatus))
}

func (a *attempt) leastPrivilege(ctx context.Context) error {
	return errors.Join(
		a.must(ctx, a.Monitor, codes.OK, "asking for the status", readStatus),
		a.must(ctx, a.Monitor, codes.PermissionDenied, "reading a key", readKey))
}

func (a *attempt) noBackDoorServices(ctx context.Context) error {
	return errors.Join(
		a.must(ctx, a.Admin, codes.OK, "asking for the status", readStatus),
		// The two calls that would do no harm if they were served: an empty key is
		// unlocked nowhere and has no leader.
		a.must(ctx, a.Admin, codes.Unimplemented, "Lock.Unlock", invoke("/v3lockpb.Lock/Unlock")),
		a.must(ctx, a.Admin, codes.Unimplemented, "Election.Leader", invoke("/v3electionpb.Election/Leader")))
}

// must makes one call as the holder of a certificate and compares its outcome.
func (a *attempt) must(ctx context.Context, as *pki.Leaf, want codes.Code, doing string, call rpc) error {
	conn, err := a.connectAs(as)
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
	browser, err := a.browserAs(a.Admin)
	if err != nil {
		return err
	}
	defer browser.CloseIdleConnections()
	type page struct {
		method, url string
		there       bool
	}
	addr := "https://" + a.Client
	pages := []page{
		{"GET", addr + "/version", true},
		{"POST", addr + "/v3/kv/range", false},
		{"GET", addr + "/debug/vars", false},
		{"GET", addr + "/debug/pprof/", false},
	}
	if a.Metrics != "" {
		metrics := "http://" + a.Metrics
		pages = append(pages,
			page{"GET", metrics + "/metrics", true},
			page{"POST", metrics + "/v3/kv/range", false},
			page{"GET", metrics + "/debug/vars", false},
			page{"GET", metrics + "/debug/pprof/", false})
	}
	var problems []error
	for _, p := range pages {
		code, err := fetch(ctx, browser, p.method, p.url)
		switch {
		case err != nil:
			problems = append(problems, err)
		case p.there && code != 200:
			problems = append(problems, untried("the control, %s, answered %d", p.url, code))
		case !p.there && code < 400:
			problems = append(problems, fmt.Errorf("%s %s is there (%d)", p.method, p.url, code))
		}
	}
	return errors.Join(problems...)
}

func (a *attempt) onlyDeclaredPorts(context.Context) error {
	if a.Pid == 0 {
		return untried("the process is not running here")
	}
	got, err := listening(a.Pid)
	if err != nil {
		return err
	}
	want := []string{a.Client, a.Peer}
	if a.Metrics != "" {
		want = append(want, a.Metrics)
	}
	for _, addr := range got {
		if !slices.Contains(want, addr) {
			err = errors.Join(err, fmt.Errorf("listens on %s, which its configuration does not declare", addr))
		}
	}
	for _, addr := range want {
		if !slices.Contains(got, addr) { // the control: what is declared is seen
			err = errors.Join(err, untried("%s is declared, but was not seen among the process's sockets", addr))
		}
	}
	return err
}

func (a *attempt) privateFiles(context.Context) error {
	switch {
	case a.Private != "":
		return LooseModes(a.Private, a.Skip)
	case len(a.Keys) > 0:
		return looseFiles(append(a.Keys, a.Data...))
	}
	return untried("where the member's keys and data are is not known here")
}

// rpc is one call on a connection.
type rpc func(context.Context, grpcConn) error

func readStatus(ctx context.Context, conn grpcConn) error {
	_, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
	return err
}

// ProbeKey is a key that no one is known to use. It is read, never written.
const ProbeKey = "etcdguard/probe"

// readKey asks for one key, linearizably: it is answered only by a member that a
// majority agrees with.
func readKey(ctx context.Context, conn grpcConn) error {
	_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte(ProbeKey)})
	return err
}
