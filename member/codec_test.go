package member

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// etcdCounter is a counter of etcd's, as /metrics shows it.
func etcdCounter(t *testing.T, name string) float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	check(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].Counter.GetValue()
		}
	}
	t.Fatalf("etcd has no counter %s", name)
	return 0
}

// The codec takes the place of etcd's, which counts what clients send and get. Were
// its counters renamed, ours would be new ones that etcd does not export.
func TestTheCodecCountsWhereEtcdDoes(t *testing.T) {
	const sent, received = "etcd_network_client_grpc_sent_bytes_total", "etcd_network_client_grpc_received_bytes_total"
	sentBefore, receivedBefore := etcdCounter(t, sent), etcdCounter(t, received)
	c := newCodec()
	data, err := c.Marshal(&pb.PutRequest{Key: []byte("key")})
	check(t, err)
	check(t, c.Unmarshal(data, &pb.PutRequest{}))
	for name, before := range map[string]float64{sent: sentBefore, received: receivedBefore} {
		if got := etcdCounter(t, name) - before; got < float64(data.Len()) { // other tests' members count, too
			t.Errorf("%s counted %v bytes of %d", name, got, data.Len())
		}
	}
}
