package member

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/etcdhttp"
	"google.golang.org/grpc/credentials"

	"github.com/etcdguard/etcdguard/certs"
	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/guard"
)

// clientHandler is what the client port has over HTTP/1.1. etcd's /debug/vars,
// which shows the whole command line, is not there.
func (m *Member) clientHandler() http.Handler {
	mux := http.NewServeMux()
	etcdhttp.HandleVersion(mux, m.etcd.Server)
	etcdhttp.HandleMetrics(mux)
	etcdhttp.HandleHealth(m.zap, mux, m.etcd.Server)
	mux.Handle(etcdapi.AdminPrefix, m.control)
	if m.config.Guard.UnsafePprof && m.config.Etcd.EnablePprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", http.NotFound) // may show what was meant for no one
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// probeHandler is what --listen-metrics-urls have: for kubelet and Prometheus,
// which come without a certificate. It shows no key and no value.
func (m *Member) probeHandler() http.Handler {
	mux := http.NewServeMux()
	etcdhttp.HandleMetrics(mux)
	etcdhttp.HandleHealth(m.zap, mux, m.etcd.Server)
	return mux
}

// webServer bounds what a connection may take: time for a header, time between
// requests, size of a header and of a body, which only the administration reads.
func (m *Member) webServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           http.MaxBytesHandler(h, control.MaxRequest),
		ConnContext:       guard.ConnContext,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // for an answer that nobody reads
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // clients' faults; the guard logs its own
	}
}

// probeListener speaks the client port's TLS where the URL says https.
func (d *door) probeListener(l net.Listener, secure bool) net.Listener {
	if !secure {
		return l
	}
	return tls.NewListener(l, &tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return d.source.Current().WebConfig(), nil
		},
	})
}

// acceptAgain is how long accepting rests when the process is out of files.
const acceptAgain = 100 * time.Millisecond

// refuseGRPC lets the connections of one listener in to the HTTP/1.1 side only.
type refuseGRPC struct {
	*certs.Door
	net.Listener
}

func (r *refuseGRPC) run() error {
	for {
		c, err := r.Listener.Accept()
		var passing interface{ Temporary() bool }
		if errors.As(err, &passing) && passing.Temporary() {
			// Out of files, say. It is not for one port to end the member for it: gRPC
			// and net/http wait, too.
			time.Sleep(acceptAgain)
			continue
		}
		if err != nil {
			return err
		}
		go func() {
			conn, _, err := r.Door.ServerHandshake(c)
			if errors.Is(err, credentials.ErrConnDispatched) {
				return
			}
			if conn != nil {
				conn.Close() // it asked for HTTP/2
			}
			c.Close()
		}()
	}
}
