package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
)

const ringImportHelp = `Put the ring in FILE, an export or another member's mirror, into this member's
mirror. The member need not run; one that runs and waits for its ring looks at the
mirror every few seconds, opens it, and starts to serve.

The ring must open: with a provider of the member's configuration, or with
--passphrase-file, if the export was made with one. Then the data keys are wrapped
anew by the configured providers, all of which have to work, as the next generation
of the ring. Do that on one member: it puts the ring into etcd, and the others take
it from there. If the ring went on since the export (the member then says that etcd
holds another of this generation), say --stale: etcd's stays, and is opened with the
data keys of the export. Then have them wrapped anew: etcdguard seal rotate.

An earlier generation than the one that is there, or another ring, is refused,
until --replace-ring names the ring that is there; it is kept beside the mirror.

Exit codes: 0 it is there; 1 it is not; 2 the command line or a file cannot be
understood.`

const ringImportExample = `  etcdguard ring import ring.json --guard-config guard.yaml --data-dir /var/lib/etcd
  etcdguard ring import ring.json --guard-config guard.yaml --data-dir /var/lib/etcd --passphrase-file export.passphrase`

func newRingImportCommand() *cobra.Command {
	var place ringPlace
	var passphraseFile, replace string
	var stale bool
	cmd := &cobra.Command{
		Use: "import FILE --guard-config FILE", Short: "put a ring into this member's mirror",
		Long: ringImportHelp, Example: ringImportExample, Args: oneArgument("the ring to import"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if place.guardConfig == "" {
				return usage(cmd, "--guard-config says which providers the member has")
			}
			at, err := place.open()
			if err != nil {
				return err
			}
			if at.mirror == "" {
				return usage(cmd, "%w", errNoMirrorNamed)
			}
			d, err := readRingFile(args[0])
			if err != nil {
				return err
			}
			if d, err = importable(cmd.Context(), d, at.providers, passphraseFile, stale); err != nil {
				return err
			}
			kept, err := putMirror(at.mirror, d, replace)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "%s: %s\n", at.mirror, ringSummary(d))
			if kept != "" {
				fmt.Fprintf(w, "%s: what was there\n", kept)
			}
			_, err = fmt.Fprintf(w, "\nnext: etcdguard ring check --guard-config %s --mirror %s\n", place.guardConfig, at.mirror)
			return err
		},
	}
	place.flags(cmd)
	passphraseFlag(cmd, &passphraseFile, "the passphrase that the export was made with, in this file (mode 0600)")
	cmd.Flags().BoolVar(&stale, "stale", false, "etcd holds a later generation than the export: only lend it the data keys")
	cmd.Flags().StringVar(&replace, "replace-ring", "", "the id of the ring that is there and may be replaced")
	return cmd
}

// importable is the document as a member can use it: opened once, and without the
// wraps of an export, whose passphrase must not be all that lies before the disk.
func importable(ctx context.Context, d *keyring.Document, providers []kms.Provider, passphraseFile string, stale bool) (*keyring.Document, error) {
	o, err := d.Open(ctx, providers, nil)
	if err == nil {
		return o.WithoutExport()
	}
	var unopened *keyring.UnopenedError
	if passphraseFile == "" || !errors.As(err, &unopened) {
		return nil, err
	}
	all, err := withExport(providers, passphraseFile)
	if err != nil {
		return nil, err
	}
	if o, err = d.Open(ctx, all, nil); err != nil {
		return nil, err
	}
	if stale {
		d, err = o.Revived(ctx, providers)
	} else if o, err = o.Rewrapped(ctx, providers, kms.ExportName); err == nil {
		d = o.Document()
	}
	if err != nil {
		return nil, ringFailure{err, "each provider of the configuration has to wrap: make one work, with a new key if the old one is lost, and remove the others from the configuration"}
	}
	return d, nil
}

// putMirror writes the mirror, over what is there if replace names it.
func putMirror(file string, d *keyring.Document, replace string) (kept string, err error) {
	if err := ownDirectory(file); err != nil {
		return "", err
	}
	if replace == "" {
		return "", keyring.WriteMirror(file, d)
	}
	there, err := keyring.ReadMirror(file)
	if err != nil {
		return "", err
	}
	if there == nil {
		return "", usageError{fmt.Errorf("reading --replace-ring %s: there is no ring in %s", replace, file), "leave it out"}
	}
	if there.Ring.String() != replace {
		return "", usageError{fmt.Errorf("reading --replace-ring %s: the ring in %s is %v", replace, file, there.Ring), "name the ring that is to go"}
	}
	return keyring.ReplaceMirror(file, d, there.Ring)
}

// ownDirectory keeps root from writing a file that the member's own user can't read.
func ownDirectory(file string) error {
	info, err := os.Stat(filepath.Dir(file))
	if err != nil {
		return nil // whoever writes says it better
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return ringFailure{fmt.Errorf("writing %s: its directory is user %d's, who could not read what user %d writes", file, sys.Uid, os.Geteuid()),
			fmt.Sprintf("run it as that user: sudo -u '#%d' etcdguard ring import …", sys.Uid)}
	}
	return nil
}
