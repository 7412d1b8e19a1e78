package policy

import (
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
)

func withRole(t *testing.T, role string) *Subject {
	t.Helper()
	return parsed(t, "rules: [{name: r, callers: [app], role: "+role+"}]").Subject(app)
}

// TestRolesGrantExactlyThis spells out, for every role and every action, where it
// is allowed. An action that is added to etcdapi and slips into a role through a
// pattern fails here.
func TestRolesGrantExactlyThis(t *testing.T) {
	const (
		registry = "/registry/pods/default/a"
		compact  = "compact_rev_key"
		health   = "health"
		other    = "/other"
	)
	points := []string{registry, compact, health, other}
	unkeyed := []string{"-"}
	want := map[string]map[etcdapi.Action][]string{
		"kube-apiserver": {
			etcdapi.KVRange: {registry, compact}, etcdapi.KVRangeStream: {registry}, etcdapi.WatchWatch: {registry, compact},
			etcdapi.KVTxn: unkeyed, etcdapi.KVTxnCompare: {registry, compact}, etcdapi.KVTxnRange: {registry, compact},
			etcdapi.KVTxnPut: {registry, compact}, etcdapi.KVTxnDeleteRange: {registry},
			etcdapi.KVCompact: unkeyed, etcdapi.LeaseGrant: unkeyed, etcdapi.MaintenanceStatus: unkeyed,
		},
		"kubeadm-healthcheck": {
			etcdapi.KVRange: {health}, etcdapi.KVTxn: unkeyed, etcdapi.KVTxnCompare: {health}, etcdapi.KVTxnRange: {health},
			etcdapi.MaintenanceAlarmGet: unkeyed, etcdapi.MaintenanceStatus: unkeyed, etcdapi.ClusterMemberList: unkeyed,
			etcdapi.HealthCheck: unkeyed, etcdapi.HealthList: unkeyed, etcdapi.HealthWatch: unkeyed, etcdapi.HTTPHealth: unkeyed,
		},
		"backup": {etcdapi.MaintenanceSnapshot: unkeyed},
		"monitor": {
			etcdapi.MaintenanceAlarmGet: unkeyed, etcdapi.MaintenanceStatus: unkeyed, etcdapi.ClusterMemberList: unkeyed,
			etcdapi.HealthCheck: unkeyed, etcdapi.HealthList: unkeyed, etcdapi.HealthWatch: unkeyed,
			etcdapi.HTTPHealth: unkeyed, etcdapi.HTTPMetrics: unkeyed, etcdapi.HTTPVersion: unkeyed,
			etcdapi.SealStatus: unkeyed,
		},
		"admin": {},
	}
	for _, a := range etcdapi.Actions() {
		if want["admin"][a] = unkeyed; a.Keyed() {
			want["admin"][a] = points
		}
	}
	if len(want) != len(Roles()) {
		t.Fatalf("%d roles are described here, and there are %d", len(want), len(Roles()))
	}
	for _, role := range Roles() {
		s := withRole(t, role.Name)
		for _, a := range etcdapi.Actions() {
			at := points
			if !a.Keyed() {
				at = unkeyed
			}
			for _, point := range at {
				r := etcdapi.Range{}
				if a.Keyed() {
					r = key(point)
				}
				wanted := false
				for _, w := range want[role.Name][a] {
					wanted = wanted || w == point
				}
				if got := s.Decide(a, r); got.Allowed != wanted || got.Observed {
					t.Errorf("%s: %v at %s: %+v, want allowed: %v", role.Name, a, point, got, wanted)
				}
			}
		}
	}
}

// TestKubeAPIServerIsKeptFrom is what a thief of its certificate would try with
// etcdctl (THREATS T2 to T8, T10, T11).
func TestKubeAPIServerIsKeptFrom(t *testing.T) {
	s := withRole(t, "kube-apiserver")
	for name, c := range map[string]struct {
		action etcdapi.Action
		keys   etcdapi.Range
	}{
		"a bare put":                      {etcdapi.KVPut, key("/registry/secrets/a/b")},
		"a bare delete":                   {etcdapi.KVDeleteRange, prefix("/registry/")},
		"all keys":                        {etcdapi.KVRange, tail("\x01")},
		"from its prefix on, without end": {etcdapi.KVRange, tail("/registry/")},
		"watching everything":             {etcdapi.WatchWatch, tail("/registry/")},
		"streaming everything":            {etcdapi.KVRangeStream, tail("\x01")},
		"streaming past its prefix":       {etcdapi.KVRangeStream, span("/registry/", "/registry1")},
		"a neighbour":                     {etcdapi.KVTxnPut, key("/registry2/a")},
		"deleting past its prefix in Txn": {etcdapi.KVTxnDeleteRange, tail("/registry/")},
		"deleting the compaction key":     {etcdapi.KVTxnDeleteRange, key("compact_rev_key")},
		"from the compaction key on":      {etcdapi.KVRange, tail("compact_rev_key")},
		"a snapshot":                      {etcdapi.MaintenanceSnapshot, etcdapi.Range{}},
		"a new member":                    {etcdapi.ClusterMemberAdd, etcdapi.Range{}},
		"disabling auth":                  {etcdapi.AuthAuthDisable, etcdapi.Range{}},
		"revoking a lease":                {etcdapi.LeaseRevoke, etcdapi.Range{}},
		"an alarm":                        {etcdapi.MaintenanceAlarmActivate, etcdapi.Range{}},
		"metrics":                         {etcdapi.HTTPMetrics, etcdapi.Range{}},
	} {
		if d := s.Decide(c.action, c.keys); d != denied {
			t.Errorf("%s: %+v", name, d)
		}
	}
	for name, c := range map[string]struct {
		action etcdapi.Action
		keys   etcdapi.Range
	}{
		"a page of a list":         {etcdapi.KVRange, span("/registry/pods/x\x00", "/registry/pods0")},
		"its whole prefix":         {etcdapi.KVRangeStream, prefix("/registry/")},
		"its health read":          {etcdapi.KVRange, key("/registry/health")},
		"an update":                {etcdapi.KVTxnPut, key("/registry/pods/a/b")},
		"watching the compactions": {etcdapi.WatchWatch, key("compact_rev_key")},
	} {
		if d := s.Decide(c.action, c.keys); d != allowed("r") {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestRoleWithKeysOfItsOwn(t *testing.T) {
	s := parsed(t, "rules: [{name: r, callers: [app], role: kube-apiserver, keys: [{prefix: /a/}, {prefix: /b/}]}]").Subject(app)
	for k, want := range map[string]bool{"/a/x": true, "/b/x": true, "/registry/x": false, "compact_rev_key": true} {
		if d := s.Decide(etcdapi.KVTxnPut, key(k)); d.Allowed != want {
			t.Errorf("%s: %+v", k, d)
		}
	}
}

func TestCompactionAge(t *testing.T) {
	const window = 4*time.Minute + 30*time.Second
	for _, c := range []struct {
		name, rules string
		age         time.Duration
		young, old  Decision // to a revision of 1 minute, of 10 minutes
	}{
		{"the role's default", "[{name: r, callers: [app], role: kube-apiserver}]", window, denied, allowed("r")},
		{"its own", "[{name: r, callers: [app], role: kube-apiserver, compactionAge: 30s}]", 30 * time.Second, allowed("r"), allowed("r")},
		{"none", "[{name: r, callers: [app], actions: [KV.Compact]}]", 0, allowed("r"), allowed("r")},
		{"the least strict", "[{name: r, callers: [app], role: kube-apiserver}, {name: s, callers: [app], actions: [KV.Compact], compactionAge: 2m}]",
			2 * time.Minute, denied, allowed("s")},
		{"the least strict observes", "[{name: r, callers: [app], role: kube-apiserver}, {name: s, callers: [app], role: admin, mode: observe}]",
			0, observed("s"), allowed("r")},
		{"not granted", "[{name: r, callers: [app], actions: [Lease.LeaseGrant]}]", 0, denied, denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := parsed(t, "rules: "+c.rules).Subject(app)
			if s.CompactionAge() != c.age {
				t.Errorf("%v, want %v", s.CompactionAge(), c.age)
			}
			if d := s.DecideCompaction(time.Minute); d != c.young {
				t.Errorf("to a young revision: %+v, want %+v", d, c.young)
			}
			if d := s.DecideCompaction(10 * time.Minute); d != c.old {
				t.Errorf("to an old revision: %+v, want %+v", d, c.old)
			}
			all := parsed(t, "mode: observe\nrules: "+c.rules).Subject(app)
			if all.CompactionAge() != 0 || !all.DecideCompaction(0).Allowed {
				t.Errorf("mode observe denies: %v, %+v", all.CompactionAge(), all.DecideCompaction(0))
			}
		})
	}
}
