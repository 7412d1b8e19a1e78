package prove

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/etcdguard/etcdguard/internal/signed"
)

// Report is what was found on some nodes; the JSON names are stable.
type Report struct {
	Version  int       `json:"version"` // of this schema: 1
	Made     time.Time `json:"made"`
	Host     string    `json:"host"` // where the attempts were made from
	Nodes    []string  `json:"nodes"`
	Findings []Finding `json:"findings"`
	// Surroundings are what lies under and around the members that are on this
	// machine. They are no claim: nothing here fails for them.
	Surroundings []NodeSurroundings `json:"surroundings"`
	// NotLookedAt is what no claim here speaks of, so that nobody takes silence for
	// a yes.
	NotLookedAt []string `json:"notLookedAt"`
}

// NodeSurroundings are those of one node.
type NodeSurroundings struct {
	Node string        `json:"node"`
	Are  []Surrounding `json:"are"`
}

// notLookedAt holds for every report.
var notLookedAt = []string{
	"memory of the members: whoever is root on a node reads values there",
	"backups and snapshots kept elsewhere: etcdguard atrest FILE looks at one",
	"what a disk keeps of blocks that were overwritten or trimmed",
	"who holds the private keys of the authorities, and copies of any key file",
	"an etcd binary that somebody starts on the data tomorrow",
}

// Everything tries every claim on every node. It writes a canary and removes it
// again; nothing else is changed.
func Everything(ctx context.Context, nodes []Node, callers Callers) Report {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	r := Report{Version: 1, Made: time.Now().UTC().Truncate(time.Second), Host: host, NotLookedAt: slices.Clone(notLookedAt)}
	for _, n := range nodes {
		r.Nodes = append(r.Nodes, n.Name)
		if len(n.Data) > 0 {
			r.Surroundings = append(r.Surroundings, NodeSurroundings{n.Name, Surroundings(n.Data[0], n.Pid)})
		}
	}
	r.Findings = run(ctx, slices.Concat(doors, stored), nodes, callers)
	return r
}

// Sign makes a report that another machine can check, with a key that "etcdguard
// atrest keygen" wrote.
func (r Report) Sign(keyFile string) ([]byte, error) {
	key, err := signed.ReadKey(keyFile)
	if err != nil {
		return nil, err
	}
	return key.Sign(reportKind, r)
}

const reportKind = "prove"

// ReadReport reads a report as JSON, or, where public keys are given, one that was
// signed with one of them.
func ReadReport(data []byte, public ...string) (r Report, err error) {
	if len(public) > 0 {
		note, err := signed.Verify(data, public...)
		if err != nil {
			return r, err
		}
		if note.Kind != reportKind {
			return r, fmt.Errorf("it is a signed report of %s, not of %s", note.Kind, reportKind)
		}
		data = note.Document
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return r, err
	}
	return r, r.check()
}

// check refuses what would be taken for good because it is not understood, or because
// something was taken out: every report has every claim for each of its nodes.
func (r Report) check() error {
	if len(r.Nodes) == 0 {
		return errors.New("it names no node")
	}
	said := map[[2]string]bool{}
	for _, f := range r.Findings {
		switch f.Result {
		case Held, Failed, NotTried:
		default:
			return fmt.Errorf("it says %q of %q, which is none of %q, %q and %q", f.Result, f.Claim, Held, Failed, NotTried)
		}
		said[[2]string{f.Claim, f.Node}] = true
	}
	for _, c := range slices.Concat(doors, stored) {
		for _, n := range r.Nodes {
			if !said[[2]string{c.name, n}] {
				return fmt.Errorf("it says nothing of %q on %q; it is not whole, or of another version of etcdguard", c.name, n)
			}
		}
	}
	return nil
}

// Failed are the findings that show a claim to be wrong.
func (r Report) Failed() []Finding { return r.with(Failed) }

// NotTried are the findings that say nothing.
func (r Report) NotTried() []Finding { return r.with(NotTried) }

func (r Report) with(result Result) (out []Finding) {
	for _, f := range r.Findings {
		if f.Result == result {
			out = append(out, f)
		}
	}
	return out
}

// Merge makes one report of several, each made on another node: an etcd cluster's
// disks are on as many machines as it has members. Two findings about one claim on
// one node are an error unless they agree: the later would hide the earlier.
func Merge(reports ...Report) (Report, error) {
	if len(reports) == 0 {
		return Report{}, errors.New("merging reports: there is none")
	}
	out := Report{Version: 1}
	var hosts []string
	seen := map[[2]string]Finding{}
	for _, r := range reports {
		if r.Version != 1 {
			return Report{}, fmt.Errorf("merging reports: the one from %s has version %d, and this etcdguard knows version 1", r.Host, r.Version)
		}
		if out.Made.IsZero() || r.Made.Before(out.Made) {
			out.Made = r.Made // as old as its oldest part
		}
		hosts = append(hosts, r.Host)
		for _, n := range r.Nodes {
			if !slices.Contains(out.Nodes, n) {
				out.Nodes = append(out.Nodes, n)
			}
		}
		out.Surroundings = append(out.Surroundings, r.Surroundings...)
		for _, s := range r.NotLookedAt {
			if !slices.Contains(out.NotLookedAt, s) {
				out.NotLookedAt = append(out.NotLookedAt, s)
			}
		}
		for _, f := range r.Findings {
			at := [2]string{f.Claim, f.Node}
			before, twice := seen[at]
			switch {
			case !twice:
			case before.Result == f.Result:
				continue
			case before.Result == NotTried || f.Result == NotTried:
				// A claim about a node's disk can be tried on that node alone.
				if f.Result == NotTried {
					continue
				}
			default:
				return Report{}, fmt.Errorf("merging reports: %q on %s is %s in one report and %s in another; take new ones", f.Claim, f.Node, before.Result, f.Result)
			}
			seen[at] = f
		}
	}
	slices.Sort(hosts)
	out.Host = strings.Join(slices.Compact(hosts), ", ")
	slices.Sort(out.Nodes)
	for _, f := range seen {
		out.Findings = append(out.Findings, f)
	}
	slices.SortFunc(out.Findings, func(a, b Finding) int {
		if c := strings.Compare(a.Claim, b.Claim); c != 0 {
			return c
		}
		return strings.Compare(a.Node, b.Node)
	})
	return out, nil
}
