package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

const auditHelp = `Read the record of who did what, and check that nobody has rewritten it.

Each member writes a log of its own: a directory of text files, an event a line, in
JSON. Its events form a Merkle tree; the member signs the tree's root every ten
seconds, and the other members record what they have seen of it. The verbs below read
those files alone. None needs a running member or a secret, and none changes anything.`

func newAuditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "who did what, and whether that record is whole", Long: auditHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), cmd.CommandPath() + " --help"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newAuditTailCommand(), newAuditSearchCommand(), newAuditStatsCommand(),
		newAuditVerifyCommand(), newAuditProveEventCommand(), newAuditCheckEventCommand())
	return cmd
}
