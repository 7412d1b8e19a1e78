package identities

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/etcdguard/etcdguard/e2e/cluster"
)

// The identities. The first five are those of `etcdguard up`; tenant and writer are
// callers that this test adds to its policy, so that techniques which start from
// some right of one's own (CVE-2026-33343, 44283, 73499) have something to start
// from.
const (
	admin       = "admin"
	apiserver   = "kube-apiserver"
	healthcheck = "healthcheck"
	backup      = "backup"
	monitor     = "monitor"
	tenant      = "tenant"    // all of /tenant/, by every door of KV and Watch, and leases
	writer      = "writer"    // may put below /tenant/, and not read it
	unnamed     = "unnamed"   // a genuine certificate that no rule names
	lookalike   = "lookalike" // the same, with the admin's name in all the wrong places
	foreign     = "foreign"   // the admin's name, from an authority of its own
	nobody      = "no certificate"
	peer        = "peer" // a member's peer certificate
)

// identity is someone who knocks at the client port.
type identity struct {
	name   string
	config *tls.Config
	// inside is whether the TLS handshake succeeds: for the others the door itself
	// is shut.
	inside bool
}

func identities(t *testing.T, c *cluster.Cluster) []identity {
	genuine, alien := c.ClientAuthority(t), cluster.NewAuthority(t, "somebody's own authority")
	issue := func(a cluster.Authority, cn string, org ...string) *tls.Config {
		return c.With(t, a.Issue(t, pkix.Name{CommonName: cn, Organization: org}))
	}
	var all []identity
	for _, name := range []string{admin, apiserver, healthcheck, backup, monitor} {
		all = append(all, identity{name, c.TLS(t, name), true})
	}
	return append(all,
		identity{tenant, issue(genuine, tenant), true},
		identity{writer, issue(genuine, writer), true},
		identity{unnamed, issue(genuine, "nobody-in-particular"), true},
		identity{lookalike, issue(genuine, "ETCDGUARD-ADMIN", "etcdguard-admin", "system:masters"), true},
		identity{foreign, issue(alien, "etcdguard-admin"), false},
		identity{nobody, c.With(t, nil), false},
		identity{peer, c.With(t, c.Members[0].PeerCertificate(t)), false},
	)
}

// withTenants adds tenant and writer to the policy that `etcdguard up` wrote.
func withTenants(t *testing.T, policy string) string {
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(policy), &doc); err != nil {
		t.Fatal(err)
	}
	add := func(field string, entries ...map[string]any) {
		list, _ := doc[field].([]any)
		if len(list) == 0 {
			t.Fatalf("the policy of `etcdguard up` has no %s", field)
		}
		for _, e := range entries {
			list = append(list, e)
		}
		doc[field] = list
	}
	caller := func(name string) map[string]any {
		return map[string]any{"name": name, "match": map[string]any{"cn": []string{name}}}
	}
	keys := []map[string]any{{"prefix": "/tenant/"}}
	add("callers", caller(tenant), caller(writer))
	add("rules",
		map[string]any{"name": tenant, "callers": []string{tenant}, "keys": keys, "actions": []string{
			"KV.Range", "KV.RangeStream", "KV.Put", "KV.DeleteRange", "Watch.Watch"}},
		map[string]any{"name": "tenant-leases", "callers": []string{tenant}, "actions": []string{
			"Lease.LeaseGrant", "Lease.LeaseRevoke"}},
		map[string]any{"name": writer, "callers": []string{writer}, "keys": keys, "actions": []string{"KV.Put"}},
	)
	out, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
