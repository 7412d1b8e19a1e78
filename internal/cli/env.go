package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/local"
)

const envHelp = `Print the environment that makes etcdctl talk to the cluster on this machine, as
lines for a POSIX shell. Without --as you are admin; the other ready-made clients
show what their role may do and what it may not.

It prints where the private key is, never the key.`

const envExamples = `  eval "$(etcdguard env)"
  etcdctl endpoint status -w table

  eval "$(etcdguard env --as monitor)"
  etcdctl get foo                       # permission denied

  eval "$(etcdguard env --as backup --member m1)"
  etcdctl snapshot save backup.db`

func newEnvCommand() *cobra.Command {
	var dir, as, member string
	cmd := &cobra.Command{
		Use: "env", Short: "what etcdctl needs to connect, for eval",
		Long: envHelp, Example: envExamples, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := local.Open(dir)
			if err != nil {
				return err
			}
			env, err := cluster.Env(as, member)
			if err != nil {
				return err
			}
			for _, kv := range env {
				name, value, _ := strings.Cut(kv, "=")
				fmt.Fprintf(cmd.OutOrStdout(), "export %s=%s\n", name, local.ShellQuote(value))
			}
			return nil
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringVar(&as, "as", "admin", "who to be: "+strings.Join(local.Clients(), ", "))
	cmd.Flags().StringVar(&member, "member", "", "one member only, m1 for example; etcdctl snapshot save asks for that (default: all)")
	return cmd
}
