package member

import (
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/etcdguard/etcdguard/guard"
)

// grpcOverhead is by how much etcd lets a message be larger than a request may be
// (server/config, grpcOverheadBytes).
const grpcOverhead = 512 << 10

// limits are what the guard holds clients to: with sealing, what the operator has
// configured for etcd. Without, etcd does that itself.
func (m *Member) limits() guard.Limits {
	if m.config.Guard.Sealing == nil {
		return guard.Limits{}
	}
	return guard.Limits{TxnOps: int(m.config.Etcd.MaxTxnOps), RequestBytes: int(m.config.Etcd.MaxRequestBytes)}
}

// withRoom gives etcd itself higher limits than clients have: what they may just send
// is larger once it is sealed.
func withRoom(c *embed.Config, clients guard.Limits) *embed.Config {
	if clients == (guard.Limits{}) {
		return c
	}
	server := clients.Server()
	roomy := *c
	roomy.MaxTxnOps, roomy.MaxRequestBytes = uint(server.TxnOps), uint(server.RequestBytes)
	return &roomy
}
