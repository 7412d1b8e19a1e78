package member

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	gwruntime "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/etcdserverpb/gw"
	"go.etcd.io/etcd/pkg/v3/httputil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/guard"
)

// gateway is etcd's JSON gateway. In etcd it is one gRPC client for everybody, with
// the server's own certificate, so that every caller over HTTP is the server. Here
// each HTTP connection has a gRPC connection of its own inside the process, which
// carries the identity of that HTTP connection and ends with it: the guard judges
// at the gRPC side, and what it judges is the caller.
type gateway struct {
	relay    *certs.Relay
	mux      *gwruntime.ServeMux
	next     http.Handler // what is not the gateway's
	maxBytes int64
	hostOK   func(string) bool
	conns    sync.Map // net.Conn → *gatewayConn
}

// gatewayPrefix is where the gateway lives. Lock and Election would be below it in
// etcd; they are not served.
const gatewayPrefix = "/v3/"

// servesGateway: the operator has to ask for it twice, since etcd's flag is on by
// default.
func (m *Member) servesGateway() bool {
	c := m.config.Etcd
	return m.config.Guard.UnsafeJSONGateway && c.EnableGRPCGateway && c.FlagsExplicitlySet["enable-grpc-gateway"]
}

func (m *Member) newGateway() *gateway {
	g := &gateway{
		relay: certs.NewRelay(),
		mux: gwruntime.NewServeMux(gwruntime.WithMarshalerOption(gwruntime.MIMEWildcard, &gwruntime.HTTPBodyMarshaler{
			Marshaler: &gwruntime.JSONPb{
				MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
				UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
			},
		})),
		// JSON has bytes in base64, which is a third longer, and names around them.
		maxBytes: 2*int64(m.config.Etcd.MaxRequestBytes) + 64<<10,
		hostOK:   m.etcd.Server.IsHostWhitelisted,
	}
	clients := callersConn{}
	// Registering fails only for a connection that can't be made, and there is none.
	err := errors.Join(
		gw.RegisterKVHandlerClient(context.Background(), g.mux, pb.NewKVClient(clients)),
		gw.RegisterWatchHandlerClient(context.Background(), g.mux, pb.NewWatchClient(clients)),
		gw.RegisterLeaseHandlerClient(context.Background(), g.mux, pb.NewLeaseClient(clients)),
		gw.RegisterClusterHandlerClient(context.Background(), g.mux, pb.NewClusterClient(clients)),
		gw.RegisterMaintenanceHandlerClient(context.Background(), g.mux, pb.NewMaintenanceClient(clients)),
		gw.RegisterAuthHandlerClient(context.Background(), g.mux, pb.NewAuthClient(clients)),
	)
	if err != nil {
		panic(err)
	}
	return g
}

// attach puts the gateway before what the server serves.
func (g *gateway) attach(s *http.Server) {
	g.next = s.Handler
	s.Handler = g
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		ctx = guard.ConnContext(ctx, c)
		addr, ok := c.RemoteAddr().(*certs.Addr)
		if !ok {
			return ctx // without an identity; callersConn refuses
		}
		conn := &gatewayConn{relay: g.relay, peer: addr.Peer}
		g.conns.Store(c, conn)
		return context.WithValue(ctx, gatewayKey{}, conn)
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if state != http.StateClosed && state != http.StateHijacked {
			return
		}
		if conn, ok := g.conns.LoadAndDelete(c); ok {
			conn.(*gatewayConn).close()
		}
	}
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, gatewayPrefix) {
		g.next.ServeHTTP(w, r)
		return
	}
	// Without TLS a page in the operator's browser could reach this port under a
	// name that it resolves itself (CVE-2018-5702).
	if conn, ok := r.Context().Value(gatewayKey{}).(*gatewayConn); ok && conn.peer.Leaf() == nil && !g.hostOK(httputil.GetHostname(r)) {
		http.Error(w, "this host name is not in --host-whitelist", http.StatusMisdirectedRequest)
		return
	}
	// A watch lasts longer than any request may take to be sent, or answered.
	control := http.NewResponseController(w)
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		http.Error(w, "this connection can't carry a stream", http.StatusInternalServerError)
		return
	}
	http.MaxBytesHandler(g.mux, g.maxBytes).ServeHTTP(w, r)
}

type gatewayKey struct{}

// gatewayConn is the gRPC connection that belongs to one HTTP connection, made
// when it is first needed.
type gatewayConn struct {
	relay *certs.Relay
	peer  *certs.Peer

	mu     sync.Mutex
	conn   *grpc.ClientConn
	closed bool
}

func (c *gatewayConn) get() (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.conn != nil {
		return c.conn, nil
	}
	conn, err := grpc.NewClient("passthrough:///relay",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.relay.Dial(ctx, c.peer) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // it does not leave the process
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	c.conn = conn
	return conn, err
}

func (c *gatewayConn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.Close()
	}
}

// callersConn sends each request over the connection of its own caller.
type callersConn struct{}

func (callersConn) of(ctx context.Context) (*grpc.ClientConn, error) {
	conn, ok := ctx.Value(gatewayKey{}).(*gatewayConn)
	if !ok {
		return nil, errors.New("etcdguard: a request without an identity")
	}
	return conn.get()
}

// Invoke implements grpc.ClientConnInterface.
func (c callersConn) Invoke(ctx context.Context, method string, request, answer any, opts ...grpc.CallOption) error {
	conn, err := c.of(ctx)
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, request, answer, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c callersConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := c.of(ctx)
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}
