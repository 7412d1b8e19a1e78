package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/local"
)

const statusHelp = `Show how the members of the cluster on this machine are.

A member is healthy if it answered a linearizable read just now, which it can
only do together with a majority; unhealthy if its process runs but did not
answer, or refuses writes because it can't open its ring; down if there is no
process.

Exit codes: 0 every member is healthy, 1 not.

The names in -o json are stable: dir, healthy, and members with name, state, pid,
clientURL, peerURL, metricsURL, version, leader, learner, dbSizeBytes, revision,
sealPhase, ringGeneration, certificateDaysLeft, problem.`

func newStatusCommand() *cobra.Command {
	var dir, output string
	cmd := &cobra.Command{
		Use: "status", Short: "how the cluster on this machine is",
		Long: statusHelp, Example: "  etcdguard status\n  etcdguard status -o json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := local.Open(dir)
			if err != nil {
				return err
			}
			status, err := cluster.Status(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), status)
			} else {
				err = printMembers(cmd.OutOrStdout(), status)
			}
			if err == nil && !status.Healthy {
				return silent{"start what is down: etcdguard up" + cluster.DirFlag()}
			}
			return err
		},
	}
	dirFlag(cmd, &dir)
	outputFlag(cmd, &output)
	return cmd
}

func printMembers(w io.Writer, s local.Status) error {
	rows := [][]any{{"MEMBER", "STATE", "PID", "CLIENTS", "PEERS", "METRICS", "LEADER", "DB SIZE", "REVISION", "SEALING", "CERTIFICATE"}}
	for _, m := range s.Members {
		row := []any{m.Name, m.State, "-", m.ClientURL, m.PeerURL, m.MetricsURL, "-", "-", "-", "-", fmt.Sprintf("%d days left", m.CertificateDaysLeft)}
		if m.Pid != 0 {
			row[2] = m.Pid
		}
		if m.Version != "" { // it answered
			row[7], row[8] = size(m.DBSizeBytes), m.Revision
			if m.Leader {
				row[6] = "yes"
			}
		}
		if m.SealPhase != "" {
			row[9] = m.SealPhase
		}
		if m.RingGeneration != 0 {
			row[9] = fmt.Sprintf("%s, generation %d", m.SealPhase, m.RingGeneration)
		}
		rows = append(rows, row)
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	for _, m := range s.Members {
		if m.Problem != "" {
			fmt.Fprintf(w, "%s: %s\n", m.Name, m.Problem)
		}
	}
	return nil
}

func size(bytes int64) string {
	if bytes < 10<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
