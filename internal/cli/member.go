package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/member"
)

// newMemberCommand is the daemon. Its flags are etcd's, parsed by etcd's rules, so
// cobra keeps out of them, the help included.
func newMemberCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "member --guard-config FILE [etcd flags]",
		Short:              "run an etcd member with the guard inside it (also when called \"etcd\")",
		DisableFlagParsing: true,
		SilenceUsage:       true,
		Run: func(_ *cobra.Command, args []string) {
			os.Exit(member.Main(args, os.Stdout, os.Stderr))
		},
	}
}
