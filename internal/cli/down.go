package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/local"
)

const downHelp = `Stop the members of the cluster on this machine.

Each is told to stop (SIGTERM) and has --grace to end its streams and close its
files; one that is still there then is killed. Data and configuration stay, and
"etcdguard up" resumes them.

--purge also removes the data, the keys and the configuration, for good. It asks
for the directory once more, with --yes, so that a command line from somewhere
else cannot remove the wrong cluster.`

const downExamples = `  etcdguard down
  etcdguard down --dir ./scratch --purge --yes ./scratch`

const defaultGrace = 20 * time.Second

func newDownCommand() *cobra.Command {
	var dir, yes string
	var purge bool
	var grace time.Duration
	cmd := &cobra.Command{
		Use: "down", Short: "stop the cluster on this machine",
		Long: downHelp, Example: downExamples, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := local.Open(dir)
			if err != nil {
				return err
			}
			if purge {
				if err := confirmed(cluster, yes); err != nil {
					return err
				}
			}
			say := progress(cmd.ErrOrStderr())
			if err := stop(cmd.Context(), cluster, grace, say); err != nil {
				return err
			}
			if purge {
				if err := cluster.Purge(); err != nil {
					return err
				}
				say("removed the cluster in " + cluster.Dir())
				return nil
			}
			say("data and configuration stay; resume with: etcdguard up" + cluster.DirFlag())
			return nil
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().DurationVar(&grace, "grace", defaultGrace, "how long a member may take to stop by itself")
	cmd.Flags().BoolVar(&purge, "purge", false, "also remove data, keys and configuration")
	cmd.Flags().StringVar(&yes, "yes", "", "with --purge: the directory once more")
	return cmd
}

// confirmed binds a purge to one directory, however it is written.
func confirmed(c *local.Cluster, yes string) error {
	if abs, err := filepath.Abs(yes); yes != "" && err == nil && abs == c.Dir() {
		return nil
	}
	what := "purging needs --yes with the directory"
	if yes != "" {
		what = fmt.Sprintf("--yes says %s", yes)
	}
	return usageError{
		fmt.Errorf("purging %s: %s; nothing was done", c.Dir(), what),
		fmt.Sprintf("it would remove all data and keys of the cluster: etcdguard down --dir %[1]s --purge --yes %[1]s", local.ShellQuote(c.Dir())),
	}
}

// stop stops the members and says of each how it went.
func stop(ctx context.Context, c *local.Cluster, grace time.Duration, say func(string)) error {
	stopped, err := c.Down(ctx, grace)
	for _, s := range stopped {
		switch {
		case s.Pid == 0:
			say(s.Member + " was not running")
		case s.Killed:
			say(fmt.Sprintf("%s (pid %d) did not stop within %s and was killed", s.Member, s.Pid, grace))
		default:
			say(fmt.Sprintf("%s (pid %d) stopped", s.Member, s.Pid))
		}
	}
	return err
}

// hinted is an error with a hint.
type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }

func joinErrors(a, b error) error {
	if b == nil {
		return a
	}
	return errors.Join(a, b)
}
