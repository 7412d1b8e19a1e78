package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/atrest"
	"github.com/etcdguard/etcdguard/internal/privatefile"
)

const atrestHelp = `Look at the bytes of an etcd's files and say in what form its values lie there:
sealed, and by which ring and key; encrypted by Kubernetes, and by which provider and
key; or plaintext. It needs no key and never shows a value.

PATH is a data directory (also of a running member: files are opened for reading only,
and never locked), a db file, what etcdctl snapshot save wrote, a write-ahead log, a
raft snapshot, or a directory with any of them, whole or broken, of etcd 3.4 to 3.7.
Live values, history, logs, and residue (free pages, slack, tails: what was deleted
but not written over) are counted apart.

Exit codes: 0 the files were looked at, and are as --expect and --ring ask;
1 they are not, or something could not be looked at that would have to be;
2 the command line cannot be understood, or a path is not there.

The names in -o json are stable; docs/atrest.md lists them. With --sign, stdout is
the signed report in place of the table, unless --report names a file for it.`

const atrestExamples = `  etcdguard atrest /var/lib/etcd
  etcdguard atrest --expect sealed --ring 0123456789abcdef /var/lib/etcd
  etcdguard atrest -o json --keys backup.db
  etcdguard atrest keygen --name node-1 node-1.key
  etcdguard atrest --sign node-1.key --report node-1.report /var/lib/etcd
  etcdguard atrest verify node-1.report --key node-1+0a1b2c3d+AbCd...`

type atrestFlags struct {
	output, expect, ring string
	sign, report         string
	opts                 atrest.Options
}

func newAtrestCommand() *cobra.Command {
	var flags atrestFlags
	cmd := &cobra.Command{
		Use: "atrest PATH...", Short: "in what form values lie in an etcd's files",
		Long: atrestHelp, Example: atrestExamples,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("etcdguard atrest wants a path: a data directory or a file"), cmd.CommandPath() + " --help"}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return runAtrest(cmd, args, flags) },
	}
	outputFlag(cmd, &flags.output)
	f := cmd.Flags()
	f.StringVar(&flags.expect, "expect", "", "what every value must be: sealed, or encrypted (sealed, or by Kubernetes)")
	f.StringVar(&flags.ring, "ring", "", "the id of the ring that must have sealed what is sealed")
	f.BoolVar(&flags.opts.Keys, "keys", false, "list the names of keys with a plaintext value (never values)")
	f.BoolVar(&flags.opts.Shapes, "shapes", false, "look for credentials in every plaintext value too; slower")
	f.BoolVar(&flags.opts.Hash, "hash", false, "add the SHA-256 of each file; --sign does so")
	f.StringVar(&flags.sign, "sign", "", "sign the report with the key in this file")
	f.StringVar(&flags.report, "report", "", "with --sign: the file for the signed report (default: stdout)")
	cmd.AddCommand(newAtrestVerifyCommand(), newAtrestKeygenCommand())
	return cmd
}

// parseExpect reads --expect and --ring.
func parseExpect(flags atrestFlags) (e atrest.Expect, err error) {
	if !slices.Contains([]string{"", "sealed", "encrypted"}, flags.expect) {
		return e, usageError{fmt.Errorf("reading --expect %q: unknown form", flags.expect), "--expect sealed or --expect encrypted"}
	}
	e.Sealed, e.Encrypted = flags.expect == "sealed", flags.expect == "encrypted"
	if flags.ring != "" {
		if err := e.Ring.UnmarshalText([]byte(flags.ring)); err != nil {
			return e, usageError{fmt.Errorf("reading --ring: %w", err), "a ring's id is in the table that etcdguard atrest prints"}
		}
	}
	if flags.report != "" && flags.sign == "" {
		return e, usageError{errors.New("--report is the file for a signed report"), "add --sign KEYFILE"}
	}
	return e, nil
}

func runAtrest(cmd *cobra.Command, paths []string, flags atrestFlags) error {
	expect, err := parseExpect(flags)
	if err != nil {
		return err
	}
	var sign func(*atrest.Report) ([]byte, error)
	if flags.sign != "" { // before the work, so that a mistake costs nothing
		if sign, err = atrest.Signer(flags.sign); err != nil {
			return badPolicy{err, "make a key: etcdguard atrest keygen --name NAME FILE"}
		}
		flags.opts.Hash = true
	}
	bar := newMeter(os.Stderr)
	flags.opts.Progress = bar.update
	report, err := atrest.Scan(cmd.Context(), paths, flags.opts)
	bar.done()
	if errors.Is(err, os.ErrNotExist) {
		return usageError{err, "give a data directory or a file of an etcd"}
	}
	if err != nil {
		return err
	}
	signedOut := false
	if sign != nil {
		note, err := sign(report)
		if err != nil {
			return err
		}
		if signedOut = flags.report == ""; signedOut {
			if _, err := cmd.OutOrStdout().Write(note); err != nil {
				return err
			}
		} else if err := privatefile.Replace(flags.report, note); err != nil {
			return err
		}
	}
	breaches := report.Breaches(expect)
	switch {
	case signedOut:
	case flags.output == "json":
		err = printJSON(cmd.OutOrStdout(), report)
	default:
		err = printAtrest(cmd.OutOrStdout(), report, breaches)
	}
	if err != nil {
		return err
	}
	if len(breaches) > 0 {
		return unexpected{breaches}
	}
	return nil
}

// unexpected is files that are not as --expect and --ring want them.
type unexpected struct{ breaches []string }

func (e unexpected) Error() string {
	const most = 3
	text := strings.Join(e.breaches[:min(most, len(e.breaches))], "; ")
	if more := len(e.breaches) - most; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return "not as expected: " + text
}

func (e unexpected) Hint() string {
	return "etcdguard seal reseal seals live values; etcdguard scrub removes history, logs and residue"
}
