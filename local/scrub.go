package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/etcdguard/etcdguard/atrest"
)

// Residue is what one member's files still have that is not sealed, apart from live
// values.
type Residue struct {
	Member string
	// Live is what is not sealed among the values that are there now. Scrub does not
	// touch those: sealing them is resealing.
	Live atrest.Count
	// History, Log and Residue are what remains of values that were: revisions that
	// are not compacted, the write-ahead log, and free space inside the files.
	History, Log, Residue atrest.Count
	// Missed is what could not be looked at.
	Missed []string
}

// Old is all of it that Scrub is there to remove.
func (r Residue) Old() int64 { return r.History.Values + r.Log.Values + r.Residue.Values }

// LookForResidue reads every byte of every member's files.
func (c *Cluster) LookForResidue(ctx context.Context) ([]Residue, error) {
	var out []Residue
	for _, p := range c.places {
		r, err := c.residue(ctx, p.name)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (c *Cluster) residue(ctx context.Context, name string) (Residue, error) {
	out := Residue{Member: name}
	report, err := atrest.Scan(ctx, []string{c.member(name, "data")}, atrest.Options{})
	if err != nil {
		return out, fmt.Errorf("looking at the files of %s: %w", name, err)
	}
	for _, row := range report.Totals {
		switch row.Kind {
		case atrest.Sealed, atrest.Damaged, atrest.Etcdguards, atrest.Etcds:
			continue // Damaged is ciphertext with a part missing: what a page keeps of a value
		}
		add(&out.Live, row.Live)
		add(&out.History, row.History)
		add(&out.Log, row.Log)
		add(&out.Residue, row.Residue)
	}
	for _, gap := range report.NotLookedAt {
		if gap.Missed {
			out.Missed = append(out.Missed, gap.What+": "+gap.Why)
		}
	}
	return out, nil
}

func add(to *atrest.Count, c atrest.Count) {
	to.Values += c.Values
	to.Bytes += c.Bytes
}

// Scrub removes from every member's files what is left of values that were stored
// before sealing: it compacts the history, defragments the databases, and rebuilds,
// one at a time, the members whose files have something left after that. The cluster
// keeps its quorum throughout. One that was cut off anywhere is finished by the next.
//
// It fails, having done nothing, while live values are not sealed. What it leaves is
// what LookForResidue says afterwards, and what no file shows: blocks of the device
// that were given back.
func (c *Cluster) Scrub(ctx context.Context, executable string, say func(format string, args ...any)) error {
	before, err := c.LookForResidue(ctx)
	if err != nil {
		return err
	}
	half, err := c.HalfRebuilt(ctx)
	if err != nil {
		return err
	}
	for _, r := range before {
		if r.Live.Values > 0 && !slices.Contains(half, r.Member) {
			return withHint("etcdguard seal enable"+c.dirFlag()+", or etcdguard seal reseal"+c.dirFlag(),
				"scrubbing: %d values that are there now are not sealed on %s; they have to be sealed first", r.Live.Values, r.Member)
		}
	}
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if sick := status.sick(half...); len(sick) > 0 {
		return withHint("etcdguard up"+c.dirFlag(), "scrubbing: every member has to be healthy; %s", strings.Join(sick, "; "))
	}
	turned := false
	rebuild := func(name string) error {
		if !turned {
			if err := c.turnLog(ctx, say); err != nil {
				return err
			}
			turned = true
		}
		return c.Rebuild(ctx, executable, name, say)
	}
	for _, name := range half {
		say("%s: going on with its rebuild, which was cut off", name)
		if err := rebuild(name); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(before, func(r Residue) bool { return r.Old() > 0 }) {
		say("nothing is left that is not sealed")
		return nil
	}
	if err := c.compactAll(ctx, say); err != nil {
		return err
	}
	for _, name := range c.leaderLast(ctx) {
		left, err := c.residue(ctx, name)
		if err != nil {
			return err
		}
		if left.Old() == 0 {
			say("%s: nothing is left", name)
			continue
		}
		if len(c.places) == 1 {
			return withHint("add two members (etcdguard up --members 3 makes such a cluster), or restore a snapshot into a new directory",
				"scrubbing: %d values are left in the log of %s, and a cluster of one member has nobody to be rebuilt from", left.Old(), name)
		}
		say("%s: %d values are left in its log and free space; it is rebuilt from the others", name, left.Old())
		if err := rebuild(name); err != nil {
			return err
		}
	}
	return nil
}

// leaderLast is the members' names with the leader's at the end: its going costs an
// election, and whoever is rebuilt is filled by it.
func (c *Cluster) leaderLast(ctx context.Context) []string {
	leader := c.leader(ctx)
	var names []string
	for _, p := range c.places {
		if p.name != leader {
			names = append(names, p.name)
		}
	}
	if leader != "" {
		names = append(names, leader)
	}
	return names
}

// compactAll ends the history of all keys at the present, and has every member write
// its database anew, without what the pages of the old one still held.
func (c *Cluster) compactAll(ctx context.Context, say func(string, ...any)) error {
	head := int64(0)
	err := c.onOne(ctx, c.places, scrubCall, func(ctx context.Context, conn *grpc.ClientConn) error {
		s, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
		head = s.GetHeader().GetRevision()
		return err
	})
	if err != nil {
		return err
	}
	say("compacting to revision %d", head)
	err = c.onOne(ctx, c.places, scrubCall, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewKVClient(conn).Compact(ctx, &pb.CompactionRequest{Revision: head, Physical: true})
		if err != nil && strings.Contains(err.Error(), "has been compacted") {
			return nil // by a scrub that was killed
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range c.leaderLast(ctx) {
		say("defragmenting %s", name)
		i := slices.IndexFunc(c.places, func(p placement) bool { return p.name == name })
		err := c.on(ctx, c.places[i], scrubCall, func(ctx context.Context, conn *grpc.ClientConn) error {
			_, err := pb.NewMaintenanceClient(conn).Defragment(ctx, &pb.DefragmentRequest{})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// turnLog has the members let go of the beginning of the raft log. Each keeps all of it
// in memory for the first hundred entries after a start (server.go,
// memorySnapshotCount), and as long as it does, a new member is given the old entries
// one by one, old values and all; after that it is given a snapshot. A lease is an
// entry, and changes no revision.
func (c *Cluster) turnLog(ctx context.Context, say func(string, ...any)) error {
	const entries = 128
	say("turning the raft log over")
	return c.onOne(ctx, c.places, scrubCall, func(ctx context.Context, conn *grpc.ClientConn) error {
		leases := pb.NewLeaseClient(conn)
		for range entries / 2 {
			granted, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 60})
			if err != nil {
				return err
			}
			if _, err := leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: granted.ID}); err != nil {
				return err
			}
		}
		return nil
	})
}

// scrubCall bounds one call of a scrub: compactions and defragmentations take time.
const scrubCall = 10 * time.Minute

// onOne makes a call to the first of some members that answers it within a time.
func (c *Cluster) onOne(ctx context.Context, from []placement, within time.Duration, call func(context.Context, *grpc.ClientConn) error) error {
	var problems []error
	for _, p := range from {
		err := c.on(ctx, p, within, call)
		if err == nil {
			return nil
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

func (c *Cluster) on(ctx context.Context, p placement, within time.Duration, call func(context.Context, *grpc.ClientConn) error) error {
	admin, err := c.loadClient("admin")
	if err != nil {
		return err
	}
	conn, err := c.connectAs(admin, p.client)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := call(ctx, conn); err != nil {
		return describe("asking "+p.name, err)
	}
	return nil
}
