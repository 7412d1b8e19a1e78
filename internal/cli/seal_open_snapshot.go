package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/offline"
)

const sealOpenSnapshotHelp = `Turn a sealed snapshot into one that stock etcd restores: every value, of every
revision, in plaintext, and nothing of etcdguard's in it. Revisions, versions and
leases stay as they are. It works offline.

IN is what etcdctl snapshot save wrote, or a copy of a stopped member's db file. It
is not changed. OUT must not be there; it is written whole or not at all. It holds
every value in plaintext: it is for your user only, and should be on a disk that you
would trust with them.

The ring is the one in the snapshot, or with --ring the one in FILE, which
etcdguard ring export wrote, or a member's mirror. It opens with the providers of
--guard-config, or with --passphrase-file if it is an export under a passphrase.

Values that do not open are listed, and there is no OUT then. With --skip-unreadable
there is: where such a value is the newest of its key, the key is deleted at that
revision (the value before it does not come back); where it is history, it stays
sealed. Restore with --bump-revision and --mark-compacted, and no client reads that.

In a cluster that was strict, plaintext is listed, too: somebody who could write to
the disk put it there. --unsafe-accept-plaintext takes it as it is; it is right for
history from before the cluster was sealed.

With --check there is no OUT: it says what there is and what opens.

Exit codes: 0 done, or with --check everything opens; 1 something does not open, or
it failed; 2 the command line or a file cannot be understood.

The names in -o json are stable: in, hashed, ring, records, deletions, plaintext,
sealed, reserved, quarantine, revision, byKey, unreadable with key (base64),
modRevision, newest and reason; out, if there is one.`

const sealOpenSnapshotExample = `  etcdguard seal open-snapshot sealed.db plain.db --guard-config guard.yaml
  etcdguard seal open-snapshot sealed.db plain.db --ring ring.json --passphrase-file export.passphrase
  etcdguard seal open-snapshot --check sealed.db --guard-config guard.yaml`

type openSnapshotFlags struct {
	ring, guardConfig, passphraseFile string
	check, skip, acceptPlaintext      bool
	output                            string
}

func newSealOpenSnapshotCommand() *cobra.Command {
	var f openSnapshotFlags
	cmd := &cobra.Command{
		Use: "open-snapshot IN [OUT]", Short: "a sealed snapshot in plaintext, for stock etcd to restore",
		Long: sealOpenSnapshotHelp, Example: sealOpenSnapshotExample,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.check && len(args) != 1:
				return usage(cmd, "--check wants the snapshot IN and nothing else")
			case !f.check && len(args) != 2:
				return usage(cmd, "what is wanted is the snapshot IN, and OUT, the file to make")
			case f.guardConfig == "" && f.passphraseFile == "":
				return usage(cmd, "--guard-config says which providers open the ring, or --passphrase-file opens an export")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, args[0], append(args, "")[1])
		},
	}
	outputFlag(cmd, &f.output)
	flags := cmd.Flags()
	flags.StringVar(&f.ring, "ring", "", "the ring, as etcdguard ring export wrote it (default: the one in the snapshot)")
	flags.StringVar(&f.guardConfig, "guard-config", "", "a member's guard configuration: its key providers")
	passphraseFlag(cmd, &f.passphraseFile, "the passphrase of the export is in this file")
	flags.BoolVar(&f.check, "check", false, "write nothing; say what there is, and what opens")
	flags.BoolVar(&f.skip, "skip-unreadable", false, "go on without the values that do not open")
	flags.BoolVar(&f.acceptPlaintext, "unsafe-accept-plaintext", false, "take plaintext in a strict cluster's snapshot as it is")
	return cmd
}

// run opens in, and writes out unless that is "".
func (f *openSnapshotFlags) run(cmd *cobra.Command, in, out string) error {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	if out != "" {
		if _, err := os.Lstat(out); err == nil {
			return badFile{fmt.Errorf("%s is there already", out), "name a file that is not there; none is overwritten"}
		}
	}
	meter := newMeter(os.Stderr)
	defer meter.done()
	say := func(format string, args ...any) {
		meter.done()
		fmt.Fprintf(stderr, format+"\n", args...)
	}
	say("reading %s", in)
	s, err := offline.Open(ctx, in, meter.update)
	if err != nil {
		return err
	}
	defer s.Close()
	if !s.Hashed() {
		say("it has no hash at its end, as snapshots do: nothing shows that the copy is whole")
	}
	ring, err := f.openRing(ctx, s)
	if err != nil {
		return err
	}
	say("opening every value with %v", ring)
	open := offline.WithRing(ring, f.acceptPlaintext)
	report, err := s.Survey(ctx, open, meter.update)
	if err != nil {
		return err
	}
	var failed error
	if n := len(report.Unreadable); n > 0 && !f.skip {
		failed = openSnapshotFailure{&offline.UnreadableError{Count: n}}
	}
	if failed == nil && out != "" {
		say("writing %s", out)
		if err := s.Write(ctx, out, open, report, f.skip, meter.update); err != nil {
			return err
		}
	}
	meter.done()
	if failed != nil {
		out = ""
	}
	if err := f.print(cmd.OutOrStdout(), openedSnapshot{in, s.Hashed(), ring.ID().String(), out, report}); err != nil {
		return err
	}
	return failed
}

// openRing is the ring of --ring, or of the snapshot, opened.
func (f *openSnapshotFlags) openRing(ctx context.Context, s *offline.Snapshot) (*keyring.Opened, error) {
	place := ringPlace{guardConfig: f.guardConfig}
	member, err := place.open()
	if err != nil {
		return nil, err
	}
	providers, err := withExport(member.providers, f.passphraseFile)
	if err != nil {
		return nil, err
	}
	var d *keyring.Document
	if f.ring != "" {
		d, err = readRingFile(f.ring)
	} else {
		d, err = s.Ring(ctx)
	}
	if err != nil {
		return nil, err
	}
	return d.Open(ctx, providers, nil)
}

type openSnapshotFailure struct{ error }

func (openSnapshotFailure) Hint() string {
	return "nothing was written; give the ring that sealed them with --ring, or go on without them: --skip-unreadable"
}
func (e openSnapshotFailure) Unwrap() error { return e.error }

// openedSnapshot is what the verb prints.
type openedSnapshot struct {
	In     string `json:"in"`
	Hashed bool   `json:"hashed"`
	Ring   string `json:"ring"`
	Out    string `json:"out,omitempty"`
	*offline.Report
}

func (f *openSnapshotFlags) print(w io.Writer, o openedSnapshot) error {
	if f.output == "json" {
		return printJSON(w, o)
	}
	rows := [][]any{{"WHAT", "RECORDS"}, {"sealed, and they open", o.Sealed}, {"plaintext", o.Plaintext}, {"do not open", len(o.Unreadable)},
		{"deletions", o.Deletions}, {"etcdguard's own, left out", o.Reserved}, {"all", o.Records}}
	if err := table(w, rows...); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nthe last revision is %d\n", o.Revision)
	if o.Quarantine > 0 {
		fmt.Fprintf(w, "%d keys in quarantine are left out\n", o.Quarantine)
	}
	if len(o.Unreadable) > 0 {
		fmt.Fprintln(w)
		rows := [][]any{{"DOES NOT OPEN", "MOD REVISION", "NEWEST", "THE VALUE"}}
		for _, u := range o.Unreadable {
			newest := "no"
			if u.Newest {
				newest = "yes"
			}
			rows = append(rows, []any{fmt.Sprintf("%q", u.Key), u.Revision, newest, u.Reason})
		}
		if err := table(w, rows...); err != nil {
			return err
		}
	}
	if o.Out == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s holds every value in plaintext; next, once for each member:\n"+
		"  etcdutl snapshot restore %s --bump-revision 1000000000 --mark-compacted --data-dir DIR ...\n", o.Out, o.Out)
	return err
}
