package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/atrest"
)

const atrestVerifyHelp = `Check a report that etcdguard atrest --sign made, on any machine, and show it. KEY is
the signer's public key, as keygen printed it; give several if it may be any of them.

Exit codes: 0 one of the keys signed exactly this report; 1 not, or a key cannot be
understood; 2 the command line cannot be understood, or the report is not there.
What the report says is not judged: read it.`

const atrestKeygenHelp = `Make a key that signs reports. The private key goes to a new FILE that only you can
read; the public key is printed, for those who verify. NAME says whose key it is, a
host's name for example.`

func newAtrestVerifyCommand() *cobra.Command {
	var output string
	var keys []string
	cmd := &cobra.Command{
		Use: "verify REPORT --key PUBLIC-KEY", Short: "check a signed report",
		Long: atrestVerifyHelp, Args: oneArgument("the report"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(keys) == 0 {
				return usageError{errors.New("etcdguard atrest verify wants the signer's public key"), "--key, as etcdguard atrest keygen printed it"}
			}
			f, err := os.Open(args[0])
			if err != nil {
				return usageError{fmt.Errorf("reading the report: %w", err), ""}
			}
			defer f.Close()
			data, err := io.ReadAll(io.LimitReader(f, atrest.MaxReport+1))
			if err != nil {
				return fmt.Errorf("reading the report: %w", err)
			}
			report, signer, err := atrest.Verify(data, keys...)
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(cmd.OutOrStdout(), report)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "signed by %s\non host %s, %s to %s\n\n", printableOnly(signer), printableOnly(report.Host),
				report.Started.Format("2006-01-02 15:04:05Z"), report.Finished.Format("15:04:05Z"))
			return printAtrest(cmd.OutOrStdout(), report, nil)
		},
	}
	outputFlag(cmd, &output)
	cmd.Flags().StringArrayVar(&keys, "key", nil, "a public key that may have signed the report; repeatable")
	return cmd
}

func newAtrestKeygenCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "keygen --name NAME FILE", Short: "make a key that signs reports",
		Long: atrestKeygenHelp, Args: oneArgument("the file for the private key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				host, err := os.Hostname()
				if err != nil {
					return fmt.Errorf("asking for this host's name: %w", err)
				}
				name = host
			}
			public, err := atrest.GenerateKey(args[0], name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), public)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "whose key it is (default: this host's name)")
	return cmd
}
