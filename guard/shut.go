package guard

import (
	"context"
	"encoding/json"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Shut keeps everybody away from keys for as long as why gives a reason, which is the
// answer; "" lets them in, and so does a nil why, for good. Health, and what needs no
// key and may be the cure, is answered all the while: members, alarms, status.
func (g *Guard) Shut(why func() string) {
	if why == nil {
		g.shut.Store(nil)
		return
	}
	g.shut.Store(&why)
}

// closedFor is why nobody is let in now; "": they are.
func (g *Guard) closedFor() string {
	if why := g.shut.Load(); why != nil {
		return (*why)()
	}
	return ""
}

// beOpen comes last, so that the reason is told to those alone who may ask.
func (g *Guard) beOpen(_ context.Context, r *Request) error {
	if servedWhileShut(r.action) {
		return nil
	}
	if why := g.closedFor(); why != "" {
		return unavailable(why)
	}
	return nil
}

func servedWhileShut(a etcdapi.Action) bool {
	switch a {
	case etcdapi.HealthCheck, etcdapi.HealthWatch, etcdapi.HealthList,
		etcdapi.ClusterMemberAdd, etcdapi.ClusterMemberList, etcdapi.ClusterMemberPromote,
		etcdapi.ClusterMemberRemove, etcdapi.ClusterMemberUpdate,
		etcdapi.MaintenanceAlarmGet, etcdapi.MaintenanceAlarmActivate, etcdapi.MaintenanceAlarmDeactivate,
		etcdapi.MaintenanceStatus, etcdapi.MaintenanceMoveLeader, etcdapi.MaintenanceDefragment:
		return true
	}
	return false
}

// notReady is what probes are told, in the form that etcd has for it.
func (g *Guard) notReady() string {
	why := g.closedFor()
	if why == "" {
		why = "not ready"
	}
	body, err := json.Marshal(struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{"false", "etcdguard: " + why})
	if err != nil {
		return `{"health":"false"}`
	}
	return string(body)
}
