package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/kms"
)

const ringHelp = `Keep, bring back and check the ring: the data keys that values are sealed with,
wrapped by the key providers of the configuration.

The wrapped ring is in etcd, on each member's disk (the mirror), and wherever an
export is kept. It opens with any one provider that wrapped it. An export under a
passphrase opens without any of them: it is what helps when all of them are lost.`

func newRingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ring", Short: "the data keys: export, import, check", Long: ringHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath()), cmd.CommandPath() + " --help"}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(newRingExportCommand(), newRingImportCommand(), newRingCheckCommand(), newRingKeyFileCommand())
	return cmd
}

const ringKeyFileHelp = `Make a new random key-encryption key and write it to FILE, which must not be there
yet: a key file is never overwritten, since what it wraps would be lost.

All members of a cluster need the same file. Without --passphrase-file, who has
the file has the key: keep it off the backups of the data that it protects. With
it, the file alone opens nothing; members take the passphrase from a file or from
a systemd credential.

Keep a copy where the cluster can't be lost with it, or an export under a
passphrase: etcdguard ring export --passphrase-file.`

func newRingKeyFileCommand() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use: "new-key-file FILE", Short: "make a key file for the local provider",
		Long:    ringKeyFileHelp,
		Example: "  etcdguard ring new-key-file ring-kek.key\n  etcdguard ring new-key-file ring-kek.key --passphrase-file ring-kek.passphrase",
		Args:    oneArgument("the file to make"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var passphrase []byte
			var err error
			setting := ""
			if passphraseFile != "" {
				if passphrase, err = kms.ReadPassphrase(passphraseFile); err != nil {
					return err
				}
				setting = ", passphrase-file: " + passphraseFile
			}
			id, err := kms.CreateKeyFile(args[0], passphrase)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s holds a new key, key id %s\n\n", args[0], id)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "next: copy it to every member and name it in each guard.yaml:\n"+
				"  sealing:\n    providers:\n      - name: local\n        local: {key-file: %s%s}\n", args[0], setting)
			return err
		},
	}
	passphraseFlag(cmd, &passphraseFile, "protect the file with the passphrase in this file (mode 0600)")
	return cmd
}

func passphraseFlag(cmd *cobra.Command, file *string, what string) {
	cmd.Flags().StringVar(file, "passphrase-file", "", what)
}
