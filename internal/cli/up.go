package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/local"
)

const upHelp = `Bring up a secured cluster on this machine, or resume the one that is there.

It makes two certificate authorities, one for clients and one for peers, and the key
that opens what is stored; a new cluster stores values sealed, from the first one on.
It writes the configuration files of each member as an operator would, starts
"etcdguard member" on them, waits until every member answers, and then tries
what must not work: the table at the end says what was tried just now.

The members run on when it returns; --foreground stays and stops them at Ctrl-C.
Run it again at any time: what runs is left alone, what is down is started, and
what was interrupted is finished. policy.yaml, etcd.yaml and guard.yaml are
yours to edit; it writes them once. No root is needed.

Addresses. --listen HOST alone gives m1 the ports 2379 (clients), 2380 (peers)
and 2381 (metrics), m2 the same plus 10000, m3 plus 20000. With --listen
HOST:PORT everything lies in one row from PORT: client, peer, metrics of m1, then
of m2, then of m3. Metrics are always on the loopback address.`

const upExamples = `  etcdguard up
  etcdguard up --members 1 --dir ./scratch
  etcdguard up --listen 127.0.0.1:4000 --dir ./second
  etcdguard up --foreground`

func newUpCommand() *cobra.Command {
	var cfg local.Config
	var foreground bool
	cmd := &cobra.Command{
		Use: "up", Short: "a secured cluster on this machine, ready to use",
		Long: upHelp, Example: upExamples, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Progress = progress(cmd.ErrOrStderr())
			return up(cmd.Context(), cfg, foreground, cmd.OutOrStdout())
		},
	}
	dirFlag(cmd, &cfg.Dir)
	cmd.Flags().IntVar(&cfg.Members, "members", 0, fmt.Sprintf("how many: 1 or 3 (default: as many as there are, %d for a new cluster)", local.DefaultMembers))
	cmd.Flags().StringVar(&cfg.Listen, "listen", "", fmt.Sprintf("HOST or HOST:PORT of the first member (default: where it is, %s for a new cluster)", local.DefaultListen))
	cmd.Flags().BoolVar(&foreground, "foreground", false, "stay, and stop the members at Ctrl-C")
	cmd.Flags().DurationVar(&cfg.Timeout, "timeout", time.Minute, "how long the members may take to become healthy")
	return cmd
}

func progress(w io.Writer) func(string) {
	return func(line string) { fmt.Fprintf(w, "etcdguard: %s\n", line) }
}

func up(ctx context.Context, cfg local.Config, foreground bool, stdout io.Writer) error {
	cluster, err := local.Up(ctx, cfg)
	if err == nil {
		cfg.Progress("trying what must not work")
		err = describe(ctx, cluster, stdout)
	}
	if !foreground || cluster == nil {
		return err
	}
	if err == nil {
		cfg.Progress("staying; Ctrl-C stops the members")
		err = cluster.Stay(ctx)
	}
	return joinErrors(err, stop(context.WithoutCancel(ctx), cluster, defaultGrace, cfg.Progress))
}

// describe says where the cluster is, how to connect, and what is protected.
func describe(ctx context.Context, c *local.Cluster, w io.Writer) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	checks, err := c.Check(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "The cluster is up, in %s\n\n", c.Dir())
	if err := printMembers(w, status); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nConnect (plain etcdctl works then, as admin; env --as NAME is someone else):\n\n  eval \"$(etcdguard env%s)\"\n\n", c.DirFlag())
	failed := 0
	rows := [][]any{{"PROTECTED", "TRIED JUST NOW", "HELD ON"}}
	for _, check := range checks {
		result := fmt.Sprintf("%d of %d", check.Held, check.Of)
		if !check.OK() {
			failed++
			result += "  FAILED"
		}
		rows = append(rows, []any{check.Protects, check.How, result})
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	for _, check := range checks {
		for _, line := range check.Failed {
			fmt.Fprintf(w, "FAILED  %s: %s\n", check.Protects, line)
		}
	}
	fmt.Fprintf(w, "\n%s\n", notProtected(c))
	if failed > 0 {
		return hinted{fmt.Errorf("checking the cluster: %d of %d protections did not hold or could not be tried; the members run on", failed, len(checks)),
			"to stop them: etcdguard down" + c.DirFlag()}
	}
	fmt.Fprintf(w, "\nNext:  etcdguard status%[1]s\n       etcdguard down%[1]s\n", c.DirFlag())
	return nil
}

func notProtected(c *local.Cluster) string {
	if !c.Seals() {
		return "Not protected: values are stored in the clear, and whoever can read\n" +
			c.Dir() + " holds every key, those of both authorities included."
	}
	return "Not protected: key names, and the lengths of values, are stored in the clear; and\n" +
		"whoever can read " + c.Dir() + " holds every key, the\n" +
		"one that opens the values (keys/ring.key) and those of both authorities included.\n" +
		"Lose keys/ring.key, and the values are lost: keep a copy elsewhere."
}
