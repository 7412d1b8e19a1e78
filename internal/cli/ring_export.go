package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/internal/privatefile"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
)

const ringExportHelp = `Save the wrapped ring to a file that is not there yet (--out), or print it, and say
which key providers and key ids open it again. Take one after every change of the
ring: a rotation, a phase, a new provider.

With --passphrase-file the data keys are wrapped under that passphrase as well: the
export opens when every provider is lost. This needs the providers once more, to
open the ring, so --guard-config with them; the passphrase goes nowhere. Whoever has
such an export can try passphrases on it for as long as they like: take six random
words or more, and keep the two apart.

The ring comes from a running member, asked as an administrator (--dir, or
--endpoints, --cacert, --cert and --key), or from a member's disk, its mirror
(--data-dir, --mirror, or where the configuration says that is).

Exit codes: 0 it is saved; 1 it is not; 2 the command line or a file cannot be
understood.`

const ringExportExample = `  etcdguard ring export --out ring.json
  etcdguard ring export --data-dir /var/lib/etcd --out ring.json
  etcdguard ring export --guard-config guard.yaml --data-dir /var/lib/etcd --passphrase-file export.passphrase --out ring.json`

func newRingExportCommand() *cobra.Command {
	var place ringPlace
	var members *admin
	var out, passphraseFile string
	cmd := &cobra.Command{
		Use: "export", Short: "save the wrapped ring", Long: ringExportHelp, Example: ringExportExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if passphraseFile != "" && place.guardConfig == "" {
				return usage(cmd, "--passphrase-file needs --guard-config: the ring has to be opened once")
			}
			at, err := place.open()
			if err != nil {
				return err
			}
			d, err := ringOf(cmd, members, at)
			if err != nil {
				return err
			}
			if d, err = exported(cmd, d, at.providers, passphraseFile); err != nil {
				return err
			}
			report := cmd.OutOrStdout()
			if out == "" {
				report = cmd.ErrOrStderr()
				_, err = cmd.OutOrStdout().Write(d.Marshal())
			} else if err = privatefile.Create(out, d.Marshal()); errors.Is(err, fs.ErrExist) {
				err = ringFailure{err, "choose another name: an export is never overwritten"}
			}
			if err != nil {
				return err
			}
			return printExport(report, d, out)
		},
	}
	place.flags(cmd)
	members = adminFlags(cmd)
	cmd.Flags().StringVar(&out, "out", "", "the file to make (default: print it)")
	passphraseFlag(cmd, &passphraseFile, "also wrap under the passphrase in this file (mode 0600), so that it opens without any provider")
	return cmd
}

// ringOf reads the ring where the flags say that it is: from the members, unless a
// mirror is named.
func ringOf(cmd *cobra.Command, members *admin, at *ringMember) (*keyring.Document, error) {
	named := slices.ContainsFunc([]string{"dir", "endpoints", "cacert", "cert", "key"}, cmd.Flags().Changed)
	switch {
	case named && (cmd.Flags().Changed("mirror") || cmd.Flags().Changed("data-dir")):
		return nil, usage(cmd, "the members and a mirror are two places to take the ring from")
	case at.mirror != "" && !named:
		return at.document()
	case at.providers != nil && !named:
		return nil, usage(cmd, "%w; or say where the members are: --dir or --endpoints", errNoMirrorNamed)
	}
	if err := members.connect(cmd); err != nil {
		return nil, err
	}
	return members.client.Ring(cmd.Context())
}

// exported is the document to save. What can be verified is.
func exported(cmd *cobra.Command, d *keyring.Document, providers []kms.Provider, passphraseFile string) (*keyring.Document, error) {
	if providers == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "etcdguard: the ring was not opened, so nothing says that it can be; --guard-config names the providers to try")
		return d, nil
	}
	o, err := d.Open(cmd.Context(), providers, nil)
	if err != nil {
		return nil, err
	}
	if passphraseFile == "" {
		return d, nil
	}
	export, err := openExport(passphraseFile)
	if err != nil {
		return nil, err
	}
	if d, err = o.Export(cmd.Context(), export); err != nil {
		return nil, err
	}
	// As it will be opened some day: from its bytes, with the passphrase alone.
	again, err := keyring.ParseDocument(d.Marshal())
	if err != nil {
		return nil, err
	}
	if export, err = openExport(passphraseFile); err != nil {
		return nil, err
	}
	if _, err := again.Open(cmd.Context(), []kms.Provider{export}, nil); err != nil {
		return nil, fmt.Errorf("opening the export again: %w", err)
	}
	return d, nil
}

func printExport(w io.Writer, d *keyring.Document, out string) error {
	if out == "" {
		fmt.Fprintf(w, "%s\n", ringSummary(d))
	} else {
		fmt.Fprintf(w, "%s: %s\n", out, ringSummary(d))
	}
	fmt.Fprintf(w, "each data key opens with any one of these:\n\n")
	if err := table(w, wrapRows(d)...); err != nil {
		return err
	}
	if out == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nnext: keep it where the cluster can't be lost with it, and try it now and then: etcdguard ring check %s --help\n", out)
	return err
}
