package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
)

const ringCheckHelp = `Ask every key provider of a member's configuration, right now, for every data key
of its ring, or of the ring in FILE, and show which opens which. The ring's own
authenticity is checked with what opened. Nothing is changed.

Run it after every change of a provider, and with --passphrase-file as a drill for
an export: what was never opened may not open.

Exit codes: 0 every data key opens (with one provider only is worth a look), 1 one
does not, or the ring was altered; 2 the command line or a file cannot be
understood.

The names in -o json are stable: file, ring, generation, phase, opens, authentic,
keys with number, state and providers (name, keyID, opens, problem), warnings.`

const ringCheckExample = `  etcdguard ring check --guard-config guard.yaml --data-dir /var/lib/etcd
  etcdguard ring check ring.json --guard-config guard.yaml
  etcdguard ring check ring.json --passphrase-file export.passphrase`

func newRingCheckCommand() *cobra.Command {
	var place ringPlace
	var passphraseFile, output string
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "which providers open which data keys, right now",
		Long: ringCheckHelp, Example: ringCheckExample, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if place.guardConfig == "" && passphraseFile == "" {
				return usage(cmd, "--guard-config says which providers to ask, or --passphrase-file opens an export")
			}
			at, err := place.open()
			if err != nil {
				return err
			}
			providers, err := withExport(at.providers, passphraseFile)
			if err != nil {
				return err
			}
			var d *keyring.Document
			file := at.mirror
			switch {
			case len(args) > 0:
				file = args[0]
				d, err = readRingFile(file)
			case at.mirror == "":
				err = usage(cmd, "%w", errNoMirrorNamed)
			default:
				d, err = at.document()
			}
			if err != nil {
				return err
			}
			c, failure := checkRing(cmd.Context(), file, d, providers)
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), c)
			} else {
				err = c.print(cmd.OutOrStdout())
			}
			if err != nil {
				return err
			}
			return failure
		},
	}
	place.flags(cmd)
	passphraseFlag(cmd, &passphraseFile, "also try the passphrase in this file, of an export")
	outputFlag(cmd, &output)
	return cmd
}

// ringCheck is what a check found.
type ringCheck struct {
	File       string         `json:"file"`
	Ring       string         `json:"ring"`
	Generation uint64         `json:"generation"`
	Phase      keyring.Phase  `json:"phase"`
	Opens      bool           `json:"opens"`     // every data key does
	Authentic  bool           `json:"authentic"` // known only where it opens
	Keys       []ringCheckKey `json:"keys"`
	Warnings   []string       `json:"warnings"`
}

type ringCheckKey struct {
	Number    uint32              `json:"number"`
	State     keyring.KeyState    `json:"state"`
	Providers []ringCheckProvider `json:"providers"`
}

type ringCheckProvider struct {
	Name    string `json:"name"`
	KeyID   string `json:"keyID,omitempty"`
	Opens   bool   `json:"opens"`
	Problem string `json:"problem,omitempty"`
}

// checkRing asks every provider; the failure is what makes the exit code.
func checkRing(ctx context.Context, file string, d *keyring.Document, providers []kms.Provider) (c ringCheck, failure error) {
	c = ringCheck{File: file, Ring: d.Ring.String(), Generation: d.Generation, Phase: d.Phase, Warnings: []string{}}
	var closed, alone []string
	by := map[string]bool{}
	for _, o := range d.Probe(ctx, providers) {
		k := ringCheckKey{Number: uint32(o.Number), State: o.State}
		for _, a := range o.Tried {
			p := ringCheckProvider{Name: a.Provider, KeyID: a.KeyID, Opens: a.Err == nil}
			if a.Err != nil {
				p.Problem = a.Err.Error()
			}
			k.Providers = append(k.Providers, p)
		}
		c.Keys = append(c.Keys, k)
		switch open := o.By(); len(open) {
		case 0:
			closed = append(closed, fmt.Sprint(o.Number))
		case 1:
			alone = append(alone, fmt.Sprint(o.Number))
			by[open[0]] = true
		}
	}
	if len(closed) > 0 {
		return c, ringFailure{fmt.Errorf("no provider opens %s", dataKeys(closed)),
			"bring back a provider that is named above, or put an export in place: etcdguard ring import --help"}
	}
	c.Opens = true
	if len(alone) > 0 {
		var names []string
		for name := range by {
			names = append(names, name)
		}
		only := "one provider only"
		if len(names) == 1 {
			only = names[0] + " only"
		}
		c.Warnings = append(c.Warnings, fmt.Sprintf("%s: opens with %s; if that is lost, so is what was sealed: "+
			"configure a second provider and have it wrap them (etcdguard seal rotate), or keep an export (etcdguard ring export --passphrase-file)", dataKeys(alone), only))
	}
	if _, err := d.Open(ctx, providers, nil); err != nil {
		return c, ringFailure{err, "take another copy: another member's mirror, or an export"}
	}
	c.Authentic = true
	return c, nil
}

func dataKeys(numbers []string) string {
	if len(numbers) == 1 {
		return "data key " + numbers[0]
	}
	return "data keys " + strings.Join(numbers, " ")
}

type ringFailure struct {
	error
	hint string
}

func (e ringFailure) Hint() string  { return e.hint }
func (e ringFailure) Unwrap() error { return e.error }

func (c ringCheck) print(w io.Writer) error {
	authentic := ""
	if c.Authentic {
		authentic = ", authentic"
	}
	fmt.Fprintf(w, "%s: ring %v generation %d, phase %v%s\n\n", c.File, c.Ring, c.Generation, c.Phase, authentic)
	rows := [][]any{{"DATA KEY", "STATE", "PROVIDER", "KEY ID", "OPENS"}}
	for _, k := range c.Keys {
		number, state := fmt.Sprint(k.Number), k.State.String()
		for _, p := range k.Providers {
			opens, id := "yes", cell(p.KeyID)
			if !p.Opens {
				opens = "no: " + p.Problem
			}
			if id == "" {
				id = "-"
			}
			rows = append(rows, []any{number, state, p.Name, id, opens})
			number, state = "", "" // once
		}
	}
	if err := table(w, rows...); err != nil {
		return err
	}
	if len(c.Warnings) > 0 {
		fmt.Fprintf(w, "\nworth a look:\n")
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(w, "  %s\n", warning)
	}
	return nil
}
