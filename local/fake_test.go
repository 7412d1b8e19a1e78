package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/pki"
)

// fake is a member as the checks see one from outside: three ports and a pid
// file. Its zero value behaves; each field takes one protection away.
type fake struct {
	takesAnyone     bool   // the client port asks for no certificate
	trustsAnyone    bool   // the client port takes a certificate of any authority
	trustsUses      bool   // the client port takes a certificate of any use
	trustsExpired   bool   // the client port has no clock
	trustsPeers     bool   // the client port trusts the peers' authority, too
	peerTakesAnyone bool   // the peer port asks for no certificate
	peerTrustsAll   bool   // the peer port trusts the clients' authority, too
	plain           string // this port, "client" or "peer", speaks HTTP without TLS beside TLS
	allowsAll       bool   // no policy
	deniesAll       bool   // not even admin
	monitorReads    bool
	monitorIsDown   bool   // the control of least privilege
	page            string // one more page on the client port
	metricsPage     string // and on the metrics port
	inTheClear      bool   // the phase of sealing is off
	backDoor        bool   // Lock and Election are served
	extraPort       bool
	extraSocket     bool
	silent          bool // accepts connections and says nothing
	stopped         bool
	cluster         *fakeCluster // what it knows of the cluster; nil: nothing
}

// start serves a fake at the places that prepare chose, with the files that
// prepare wrote.
func (f fake) start(t *testing.T) *Cluster {
	t.Helper()
	dir := t.TempDir()
	l := layout{dir + "/c"}
	places := prepared(t, l.dir, Config{Members: 1, Listen: freeAddress(t)})
	c := &Cluster{l, places}
	if f.stopped {
		return c
	}
	p := places[0]
	clientCA, peerCA := c.authority("client")+".crt", c.authority("peer")+".crt"

	client := f.listener(t, p.client, c.member(p.name, "server"), clientCA)
	clientTLS := client.(*listener).tls
	switch {
	case f.takesAnyone:
		clientTLS.ClientAuth = tls.NoClientCert
	case f.trustsAnyone:
		clientTLS.ClientAuth = tls.RequireAnyClientCert
	case f.trustsUses:
		trustAnyUse(clientTLS)
	case f.trustsExpired:
		trustAnyTime(t, clientTLS, clientCA)
	}
	if f.trustsPeers {
		addCA(t, clientTLS.ClientCAs, peerCA)
	}
	peerPort := f.listener(t, p.peer, c.member(p.name, "peer"), peerCA)
	peerTLS := peerPort.(*listener).tls
	if f.peerTakesAnyone {
		peerTLS.ClientAuth = tls.NoClientCert
	}
	if f.peerTrustsAll {
		addCA(t, peerTLS.ClientCAs, clientCA)
	}
	client.(*listener).plain, peerPort.(*listener).plain = f.plain == "client", f.plain == "peer"

	rpcs := f.rpcs()
	pages := f.pages(f.page)
	serve(t, client, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			rpcs.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}))
	serve(t, peerPort, f.pages(""))
	serve(t, listen(t, p.metrics.String()), f.pages(f.metricsPage))
	if f.extraPort {
		listen(t, "127.0.0.1:0")
	}
	if f.extraSocket {
		s, err := net.Listen("unix", dir+"/s")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
	}
	holdPidFile(t, c.member(p.name, "member.pid"))
	return c
}

func (f fake) pages(extra string) *http.ServeMux {
	mux := http.NewServeMux()
	ok := func(http.ResponseWriter, *http.Request) {}
	mux.HandleFunc("/version", ok)
	mux.HandleFunc("/metrics", ok)
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealStatus), func(w http.ResponseWriter, _ *http.Request) {
		phase := "strict"
		if f.inTheClear {
			phase = "off"
		}
		fmt.Fprintf(w, `{"configured": true, "generation": 1, "inForce": 1, "phase": %q, "providers": [{"name": "local", "healthy": true}],
			"members": [{"id": "1", "name": "m1", "guarded": true, "confirmed": true}]}`, phase)
	})
	if extra != "" {
		mux.HandleFunc(extra, ok)
	}
	return mux
}

type kv struct {
	pb.UnimplementedKVServer
	fake
}

func (s kv) Range(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) {
	may := map[string]bool{"etcdguard-admin": true, "etcdguard-monitor": s.monitorReads}
	return &pb.RangeResponse{}, s.judge(ctx, may)
}

type maintenance struct {
	pb.UnimplementedMaintenanceServer
	fake
}

func (s maintenance) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	may := map[string]bool{"etcdguard-admin": true, "etcdguard-monitor": !s.monitorIsDown}
	return &pb.StatusResponse{Header: &pb.ResponseHeader{}, IsLearner: s.cluster.isLearner()}, s.judge(ctx, may)
}

func (f fake) judge(ctx context.Context, may map[string]bool) error {
	p, _ := peer.FromContext(ctx)
	certs := p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates
	if f.allowsAll || !f.deniesAll && len(certs) > 0 && may[certs[0].Subject.CommonName] {
		return nil
	}
	return status.Error(codes.PermissionDenied, "no")
}

func (f fake) rpcs() *grpc.Server {
	var opts []grpc.ServerOption
	if f.backDoor {
		opts = append(opts, grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return status.Error(codes.InvalidArgument, "empty key")
		}))
	}
	s := grpc.NewServer(opts...)
	pb.RegisterKVServer(s, kv{fake: f})
	pb.RegisterMaintenanceServer(s, maintenance{fake: f})
	if f.cluster != nil {
		pb.RegisterClusterServer(s, f.cluster)
	}
	return s
}

// listener is a TLS port, or one that also takes plain HTTP.
type listener struct {
	net.Listener
	tls    *tls.Config
	plain  bool
	silent bool
}

func (f fake) listener(t *testing.T, at netip.AddrPort, pair, ca string) net.Listener {
	t.Helper()
	leaf, err := pki.LoadLeaf(pair+".crt", pair+".key")
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{leaf.TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    x509.NewCertPool(),
		NextProtos:   []string{"http/1.1", "h2"},
	}
	addCA(t, cfg.ClientCAs, ca)
	return &listener{Listener: listen(t, at.String()), tls: cfg, silent: f.silent}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.plain && first(conn) == 'G' {
			return &replay{Conn: conn, head: []byte("G")}, err
		}
		if l.silent {
			continue
		}
		if l.plain {
			conn = &replay{Conn: conn, head: []byte{0x16}} // a TLS handshake record
		}
		return tls.Server(conn, l.tls), nil
	}
}

func first(conn net.Conn) byte {
	b := make([]byte, 1)
	_, _ = conn.Read(b)
	return b[0]
}

// replay is a connection whose first byte was looked at.
type replay struct {
	net.Conn
	head []byte
}

func (r *replay) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}

func trustAnyUse(cfg *tls.Config) {
	roots := cfg.ClientCAs
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	}
}

// trustAnyTime trusts what the authority ever signed for clients.
func trustAnyTime(t *testing.T, cfg *tls.Config, file string) {
	t.Helper()
	ca, err := pki.LoadCertificate(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg.ClientAuth = tls.RequireAnyClientCert
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		leaf := s.PeerCertificates[0]
		if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
			return errors.New("not a client's certificate")
		}
		return leaf.CheckSignatureFrom(ca)
	}
}

func addCA(t *testing.T, pool *x509.CertPool, file string) {
	t.Helper()
	ca, err := pki.LoadCertificate(file)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(ca)
}

func listen(t *testing.T, at string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func serve(t *testing.T, l net.Listener, h http.Handler) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	s := &http.Server{Handler: h, Protocols: protocols, ErrorLog: discard}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close() })
}

// holdPidFile does what a member does for as long as it lives.
func holdPidFile(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strconv.Itoa(os.Getpid())); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is the start of three free ports in a row, below those that the
// kernel gives to outgoing connections.
func freeAddress(t *testing.T) string {
	t.Helper()
	for first := 10000 + os.Getpid()%1000*4; first < 15000; first += 4 {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(first))
		if places, err := place(at.String(), 1); err == nil && checkFree(places, false) == nil {
			return at.String()
		}
	}
	t.Fatal("no free ports")
	return ""
}
