package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/prove"
)

// Check is one protection and what came of trying to get round it just now.
type Check struct {
	Protects string   `json:"protects"`
	How      string   `json:"how"`    // what was tried, and the control that worked
	Held     int      `json:"held"`   // members on which it held
	Of       int      `json:"of"`     // members asked
	Failed   []string `json:"failed"` // one line per member on which it did not hold, or could not be tried
}

// OK reports whether the protection held everywhere.
func (c Check) OK() bool { return len(c.Failed) == 0 && c.Held == c.Of && c.Of > 0 }

// Check tries every protection on every member, now.
func (c *Cluster) Check(ctx context.Context) ([]Check, error) {
	nodes, callers, err := c.Provable()
	if err != nil {
		return nil, fmt.Errorf("preparing the checks: %w", err)
	}
	findings := prove.Doors(ctx, nodes, callers)
	if c.Seals() {
		findings = append(findings, prove.Sealing(ctx, nodes, callers)...)
	}
	return checks(findings), nil
}

// Seals reports whether up made the cluster to seal.
func (c *Cluster) Seals() bool {
	_, err := os.Lstat(c.ringKey())
	return err == nil
}

// checks gathers what was found on each member by claim.
func checks(findings []prove.Finding) []Check {
	var out []Check
	for _, f := range findings {
		if len(out) == 0 || out[len(out)-1].Protects != f.Claim {
			out = append(out, Check{Protects: f.Claim, How: f.How})
		}
		check := &out[len(out)-1]
		check.Of++
		if f.Result == prove.Held {
			check.Held++
			continue
		}
		check.Failed = append(check.Failed, f.Node+": "+f.Detail)
	}
	return out
}

// Provable describes the members, and the identities to try them with.
func (c *Cluster) Provable() ([]prove.Node, prove.Callers, error) {
	admin, err := c.loadClient("admin")
	if err != nil {
		return nil, prove.Callers{}, err
	}
	monitor, err := c.loadClient("monitor")
	if err != nil {
		return nil, prove.Callers{}, err
	}
	clients, err := pki.LoadAuthority(pki.Clients, c.authority("client")+".crt", c.authority("client")+".key")
	if err != nil {
		return nil, prove.Callers{}, err
	}
	callers, err := prove.NewCallers(admin, monitor, clients)
	if err != nil {
		return nil, prove.Callers{}, err
	}
	var nodes []prove.Node
	for _, p := range c.places {
		n, err := c.node(p)
		if err != nil {
			return nil, prove.Callers{}, err
		}
		nodes = append(nodes, n)
	}
	return nodes, callers, nil
}

func (c *Cluster) node(p placement) (prove.Node, error) {
	n := prove.Node{
		Name: p.name, Client: p.client.String(), Peer: p.peer.String(), Metrics: p.metrics.String(),
		ClientCA: c.clientsCA(), PeerCA: c.authority("peer") + ".crt",
		Data:    []string{c.member(p.name, "data")},
		Private: c.dir,
		Skip: func(dir string) bool {
			return filepath.Dir(dir) == c.join("members") && dir != c.member(p.name)
		},
	}
	var err error
	if n.Server, err = pki.LoadLeaf(c.member(p.name, "server.crt"), c.member(p.name, "server.key")); err != nil {
		return n, err
	}
	if n.PeerLeaf, err = pki.LoadLeaf(c.member(p.name, "peer.crt"), c.member(p.name, "peer.key")); err != nil {
		return n, err
	}
	proc, err := c.process(p.name)
	if err != nil {
		return n, err
	}
	n.Pid = proc.pid
	return n, nil
}
