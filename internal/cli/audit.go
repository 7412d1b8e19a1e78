package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

const auditHelp = `Read the record of who did what: every write, denial, administration and read that
a member was asked for, in its audit log.`

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "the record of who did what", Long: auditHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), cmd.CommandPath() + " --help"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newAuditTailCommand(), newAuditSearchCommand(), newAuditStatsCommand())
	return cmd
}
