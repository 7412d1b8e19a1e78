package member

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	runtimeutil "go.etcd.io/etcd/pkg/v3/runtime"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/internal/filewatch"
	"github.com/etcdguard/etcdguard/policy"
)

// door is everything that clients can connect to.
type door struct {
	certs   *certs.Door
	source  *certs.Source   // nil: no TLS anywhere
	seen    filewatch.State // the certificates before they were first read
	both    []net.Listener  // gRPC and HTTP/1.1
	web     []net.Listener  // HTTP/1.1 only (--listen-client-http-urls)
	probes  []net.Listener  // metrics and health (--listen-metrics-urls)
	grpc    *grpc.Server
	servers []*http.Server
	failed  chan error
}

// internalFiles is how many file descriptors etcd needs for itself; the rest may
// be connections (embed/etcd.go).
const internalFiles = 150

func (m *Member) newDoor() (_ *door, err error) {
	c := m.config.Etcd
	d := &door{failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if servesTLS(c) || metricsTLS(c) {
		if err := c.ClientSelfCert(); err != nil { // --auto-tls
			return nil, fmt.Errorf("making a certificate for --auto-tls: %w", err)
		}
		trust := clientTrust(c)
		d.seen = filewatch.Look(trust.Files())
		if d.source, err = certs.NewSource(trust); err != nil {
			return nil, err
		}
		m.showCertificates(d.source.Current())
	}
	d.certs = certs.NewDoor(certs.DoorConfig{Source: d.source, Failed: m.handshakeFailed})
	open := func() int { return d.certs.Open() }
	m.metrics.countOpen.Store(&open)
	for _, u := range c.ListenClientUrls {
		if err := d.listen(c, u, &d.both); err != nil {
			return nil, err
		}
	}
	for _, u := range c.ListenClientHttpUrls {
		if err := d.listen(c, u, &d.web); err != nil {
			return nil, err
		}
	}
	for _, u := range c.ListenMetricsUrls {
		if err := d.listen(c, u, &d.probes); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// clientTrust is the TLS of the client port in etcd's configuration.
func clientTrust(c *embed.Config) certs.Config {
	t := c.ClientTLSInfo
	trust := certs.Config{
		CertFile:          t.CertFile,
		KeyFile:           t.KeyFile,
		CAFile:            t.TrustedCAFile,
		CRLFile:           t.CRLFile,
		RequireClientCert: t.ClientCertAuth,
		AllowedHostnames:  t.AllowedHostnames,
		AllowedCNs:        t.AllowedCNs,
	}
	// Validate has accepted these; an error here would be etcd's own.
	trust.MinVersion, _ = tlsutil.GetTLSVersion(c.TlsMinVersion)
	trust.MaxVersion, _ = tlsutil.GetTLSVersion(c.TlsMaxVersion)
	trust.CipherSuites, _ = tlsutil.GetCipherSuites(c.CipherSuites)
	return trust
}

func metricsTLS(c *embed.Config) bool {
	for _, u := range c.ListenMetricsUrls {
		if u.Scheme == "https" || u.Scheme == "unixs" {
			return true
		}
	}
	return false
}

// listen takes a socket, as etcd does: with its socket options, and bounded by the
// file descriptors that are left.
func (d *door) listen(c *embed.Config, u url.URL, into *[]net.Listener) error {
	addr := u.Host
	if u.Scheme == "unix" || u.Scheme == "unixs" {
		addr = u.Host + u.Path
	}
	l, err := transport.NewListenerWithOpts(addr, u.Scheme,
		transport.WithSocketOpts(&c.SocketOpts), transport.WithSkipTLSInfoCheck(true))
	if err != nil {
		return fmt.Errorf("listening on %s: %w; free the port or choose another", u.String(), err)
	}
	if limit, err := runtimeutil.FDLimit(); err == nil {
		if limit <= internalFiles {
			l.Close()
			return fmt.Errorf("the process may open %d files, etcd alone needs %d; raise the limit (ulimit -n, LimitNOFILE=)", limit, internalFiles)
		}
		l = transport.LimitListener(l, int(limit-internalFiles))
	}
	if u.Scheme == "http" || u.Scheme == "unix" {
		l = certs.Plaintext(l)
	}
	*into = append(*into, l)
	return nil
}

// serve lets clients in.
func (d *door) serve(m *Member) {
	d.grpc = v3rpc.Server(m.etcd.Server, nil, nil, append(m.serverOptions(),
		grpc.Creds(d.certs),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.WriteBufferSize(certs.WriteSize),
		grpc.NumStreamWorkers(requestWorkers),
		// A single interceptor runs before all chained ones: before etcd's own.
		grpc.UnaryInterceptor(m.guard.Unary),
		grpc.StreamInterceptor(m.guard.Stream),
		grpc.UnknownServiceHandler(m.guard.UnknownMethod),
	)...)
	web := m.webServer(m.guard.HTTP(m.clientHandler()))
	if m.servesGateway() {
		g := m.newGateway()
		g.attach(web)
		d.start(func() error { return d.grpc.Serve(g.relay) })
	}
	d.servers = append(d.servers, web)
	d.start(func() error { return web.Serve(d.certs.HTTP()) })
	for _, l := range d.web {
		webOnly := &refuseGRPC{Door: d.certs, Listener: l}
		d.start(webOnly.run)
	}
	for _, l := range d.both {
		d.start(func() error { return d.grpc.Serve(l) })
	}
}

// announce says in the log that clients are served, in etcd's words: tools wait for
// them.
func (d *door) announce(m *Member) {
	for _, u := range m.config.Etcd.ListenClientUrls {
		how := "serving client traffic securely"
		if u.Scheme == "http" || u.Scheme == "unix" {
			how = "serving client traffic insecurely; this is strongly discouraged!"
		}
		m.zap.Info(how, zap.String("traffic", "grpc+http"), zap.String("address", u.Host+u.Path))
	}
	m.zap.Info("ready to serve client requests")
}

// serveProbes answers at --listen-metrics-urls.
func (d *door) serveProbes(m *Member) {
	if len(d.probes) == 0 {
		return
	}
	probes := m.webServer(m.guard.Probe(m.probeHandler()))
	d.servers = append(d.servers, probes)
	for i, l := range d.probes {
		scheme := m.config.Etcd.ListenMetricsUrls[i].Scheme
		secure := scheme == "https" || scheme == "unixs"
		d.start(func() error { return probes.Serve(d.probeListener(l, secure)) })
	}
}

func (d *door) start(serve func() error) {
	go func() {
		err := serve()
		if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, grpc.ErrServerStopped) {
			return
		}
		select {
		case d.failed <- fmt.Errorf("serving clients: %w", err):
		default:
		}
	}()
}

// serverOptions are what embed gives its gRPC server. The enforcement of keepalive
// is laxer by a tenth: etcd's clients ping every --grpc-keepalive-min-time sharp, a
// timer that is early by a millisecond is not abuse, and stock etcd under TLS does
// not enforce at all.
func (m *Member) serverOptions() []grpc.ServerOption {
	c := m.config.Etcd
	var options []grpc.ServerOption
	if c.GRPCKeepAliveMinTime > 0 {
		options = append(options, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             c.GRPCKeepAliveMinTime * 9 / 10,
			PermitWithoutStream: true,
		}))
	}
	if c.GRPCKeepAliveInterval > 0 && c.GRPCKeepAliveTimeout > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{
			Time:    c.GRPCKeepAliveInterval,
			Timeout: c.GRPCKeepAliveTimeout,
		}))
	}
	// Etcd has more room than clients know of, see withRoom.
	options = append(options, grpc.MaxRecvMsgSize(int(c.MaxRequestBytes)+grpcOverhead))
	return append(options, c.GRPCAdditionalServerOptions...)
}

// handshakeFailed records who was turned away, in the words that etcd has for it, and
// with the name on the certificate, if one was shown. It writes no more than a disk
// stands: anybody can fail a handshake.
func (m *Member) handshakeFailed(from net.Addr, shown *x509.Certificate, err error) {
	m.metrics.handshakes.Inc()
	if !m.rejections.Allow() {
		m.rejectedMore.Add(1)
		return
	}
	m.recordHandshake(from, shown, err)
	who := "nobody"
	if shown != nil {
		who = policy.CallerOf(shown, from.String()).String()
	}
	m.log.Warn("rejected connection on client endpoint",
		slog.String("remote-addr", from.String()), slog.String("shown", who), slog.Any("error", err))
}

// drain stops taking connections, lets requests finish for at most bound, and
// closes what is left.
func (d *door) drain(bound time.Duration) {
	finished := make(chan struct{})
	go func() { d.grpc.GracefulStop(); close(finished) }()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	for _, s := range d.servers {
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	}
	select {
	case <-finished:
	case <-ctx.Done():
		d.grpc.Stop()
		<-finished
	}
	d.close()
}

// close gives the sockets back.
func (d *door) close() {
	if d.grpc != nil {
		d.grpc.Stop()
	}
	for _, s := range d.servers {
		s.Close()
	}
	for _, all := range [][]net.Listener{d.both, d.web, d.probes} {
		for _, l := range all {
			l.Close()
		}
	}
	if d.certs != nil {
		d.certs.HTTP().Close()
	}
}
