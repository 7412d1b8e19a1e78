package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/atrest"
	"github.com/etcdguard/etcdguard/local"
	"github.com/etcdguard/etcdguard/prove"
)

const sealScrubHelp = `Remove what a cluster's files still hold of values from before sealing: old
revisions, free pages, the write-ahead log.

It first looks at every byte, and says what is there and what it would do; with --yes
it compacts the history to the present, defragments every member's database, and
rebuilds, one at a time, the members that have something left: each leaves the
cluster, its files are overwritten and removed, and it comes back as a learner that is
promoted when it has caught up. The cluster never falls below its quorum; a member
that is down has to be brought back first. Run again after an interruption, it goes on.

What that costs: watches from revisions that are compacted are told so and start anew
(kube-apiserver lists again), and each member is away for a moment.

It is for clusters that "etcdguard up" made. On other hosts: compact, defragment, then
for each member in turn etcdctl member remove, an empty data directory, etcdctl member
add --learner, start with --initial-cluster-state=existing, etcdctl member promote;
"etcdguard atrest --expect sealed" on each node says what is left.

Exit codes: 0 nothing is left that is not sealed; 1 something is, or may be, or a
member is not back yet; 2 the command line cannot be understood.`

func newSealScrubCommand() *cobra.Command {
	var dir string
	var yes bool
	cmd := &cobra.Command{
		Use: "scrub", Short: "remove what files still hold from before sealing",
		Long: sealScrubHelp, Example: "  etcdguard seal scrub\n  etcdguard seal scrub --yes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := local.Open(dir)
			if err != nil {
				return err
			}
			return scrub(cmd, cluster, yes)
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without, only look and say what would be done")
	return cmd
}

func scrub(cmd *cobra.Command, cluster *local.Cluster, yes bool) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	say := func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }
	say("looking at every byte of the members' files")
	before, err := cluster.LookForResidue(ctx)
	if err != nil {
		return err
	}
	if err := printResidue(out, before); err != nil {
		return err
	}
	half, err := cluster.HalfRebuilt(ctx)
	if err != nil {
		return err
	}
	if clean(before) && len(half) == 0 {
		return printSurroundings(out, cluster)
	}
	if !yes && len(half) > 0 {
		return hinted{fmt.Errorf("%s has left the cluster and is not back: a scrub was cut off", strings.Join(half, ", ")), "etcdguard seal scrub --yes" + cluster.DirFlag() + " goes on"}
	}
	if !yes {
		return hinted{errors.New("values from before sealing are left in the files"), "etcdguard seal scrub --yes" + cluster.DirFlag() + " removes them; --help says how, and what it costs"}
	}
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the etcdguard binary: %w", err)
	}
	if err := cluster.Scrub(ctx, executable, say); err != nil {
		return err
	}
	after, err := cluster.LookForResidue(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := printResidue(out, after); err != nil {
		return err
	}
	if !clean(after) {
		return hinted{errors.New("something is left, or could not be looked at"), "run it again; etcdguard atrest on a member's data directory says where it is"}
	}
	return printSurroundings(out, cluster)
}

func clean(all []local.Residue) bool {
	for _, r := range all {
		if r.Old() > 0 || r.Live.Values > 0 || len(r.Missed) > 0 {
			return false
		}
	}
	return true
}

func printResidue(w io.Writer, all []local.Residue) error {
	rows := [][]any{{"MEMBER", "NOT SEALED: LIVE", "HISTORY", "LOG", "RESIDUE"}}
	for _, r := range all {
		rows = append(rows, []any{r.Member, amount(r.Live), amount(r.History), amount(r.Log), amount(r.Residue)})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	for _, r := range all {
		for _, m := range r.Missed {
			fmt.Fprintf(w, "NOT LOOKED AT  %s: %s\n", r.Member, m)
		}
	}
	return nil
}

func amount(c atrest.Count) string {
	if c.Values == 0 {
		return "-"
	}
	return fmt.Sprintf("%d values, %d bytes", c.Values, c.Bytes)
}

// printSurroundings says what the files can't: what lies below them.
func printSurroundings(w io.Writer, cluster *local.Cluster) error {
	nodes, _, err := cluster.Provable()
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "\nNothing in the members' files is in the clear. What software can't promise:")
	for _, n := range nodes {
		for _, s := range prove.Surroundings(n.Data[0], n.Pid) {
			fmt.Fprintf(w, "  %-8s %s, %s: %s\n", s.State, n.Name, s.What, s.Seen)
			if s.Advice != "" {
				fmt.Fprintf(w, "           %s\n", s.Advice)
			}
		}
	}
	fmt.Fprintln(w, "  unknown  blocks that a disk keeps of files that were overwritten or removed (fstrim on an SSD; encrypt the device)")
	return nil
}
