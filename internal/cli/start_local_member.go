package cli

import (
	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/local"
)

// newStartLocalMemberCommand is how up starts a member; see local.BecomeMember.
func newStartLocalMemberCommand() *cobra.Command {
	return &cobra.Command{
		Use: local.StartVerb + " PIDFILE -- COMMAND...", Hidden: true, Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return local.BecomeMember(args[0], args[1:])
		},
	}
}
