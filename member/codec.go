package member

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/codec"
)

// newCodec stands in for the codec of v3rpc.Server, and counts as that does.
func newCodec() codec.Codec {
	received := addTo("client_grpc_received_bytes_total", "The total number of bytes received from grpc clients.")
	return codec.Codec{
		Sent: addTo("client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients."),
		Received: func(n int) {
			growStack(0) // nothing of ours runs earlier on the goroutine of a request
			received(n)
		},
	}
}

// addTo adds to a counter of etcd's, which etcd does not export but has registered.
func addTo(name, help string) func(int) {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "etcd", Subsystem: "network", Name: name, Help: help})
	var etcds prometheus.AlreadyRegisteredError
	if errors.As(prometheus.Register(c), &etcds) {
		c = etcds.ExistingCollector.(prometheus.Counter)
	}
	return func(n int) { c.Add(float64(n)) }
}
