package member

import (
	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/guard"
)

// newControl is etcdguard's own administration. Who may call it, the guard has judged
// by then.
func (m *Member) newControl() *control.Handler {
	return control.NewHandler(control.Config{
		Keeper: m.keeper,
		Etcd:   store{server{m.etcd.Server}},
		Log:    m.log,
		Caller: guard.CallerName,
	})
}
