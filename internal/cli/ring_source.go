package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/member"
)

// ringPlace is which member's ring a verb is about: its configuration and its data.
type ringPlace struct{ guardConfig, dataDir, mirror string }

func (p *ringPlace) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.guardConfig, "guard-config", "", "the member's guard configuration: its key providers, its mirror")
	cmd.Flags().StringVar(&p.dataDir, "data-dir", "", "the member's data directory, where its mirror is unless the configuration names another file")
	cmd.Flags().StringVar(&p.mirror, "mirror", "", "the mirror itself (default: as the configuration says)")
}

// open reads the configuration and finds the mirror; there may be neither providers
// nor a mirror, which complain about when they are needed.
func (p *ringPlace) open() (*ringMember, error) {
	m := &ringMember{mirror: p.mirror}
	if p.guardConfig != "" {
		c, err := member.LoadGuardConfig(p.guardConfig)
		if err != nil {
			return nil, badFile{err, ""}
		}
		if c.Sealing == nil {
			return nil, badFile{fmt.Errorf("reading the guard configuration %s: it has no key providers", p.guardConfig), "name them under sealing.providers"}
		}
		if m.providers, err = kms.Open(c.Sealing.Providers, ""); err != nil {
			return nil, badFile{err, "correct " + p.guardConfig}
		}
		if m.mirror == "" {
			m.mirror = c.Sealing.Mirror
		}
	}
	if m.mirror == "" && p.dataDir != "" {
		m.mirror = filepath.Join(p.dataDir, keyring.MirrorName)
	}
	return m, nil
}

// ringMember is what a member's configuration says of its ring.
type ringMember struct {
	providers []kms.Provider
	mirror    string
}

// badFile is a file that cannot be understood.
type badFile struct {
	error
	hint string
}

func (e badFile) ExitCode() int { return 2 }
func (e badFile) Hint() string  { return e.hint }
func (e badFile) Unwrap() error { return e.error }

func usage(cmd *cobra.Command, format string, args ...any) error {
	return usageError{fmt.Errorf("reading the command line: "+format, args...), cmd.CommandPath() + " --help"}
}

var errNoMirrorNamed = errors.New("where is the member's mirror? give its --data-dir, or --mirror FILE")

// document reads the member's mirror.
func (m *ringMember) document() (*keyring.Document, error) {
	d, err := keyring.ReadMirror(m.mirror)
	if err == nil && d == nil {
		err = fmt.Errorf("reading the mirror of the ring: there is no %s: this member has seen no ring", m.mirror)
	}
	return d, err
}

// readRingFile reads an export. Its mode is the operator's affair: what is in it is
// wrapped.
func readRingFile(file string) (*keyring.Document, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading a ring: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4<<20)) // more than any ring has
	if err != nil {
		return nil, fmt.Errorf("reading a ring: %w", err)
	}
	d, err := keyring.ParseDocument(data)
	if err != nil {
		return nil, badFile{fmt.Errorf("%s: %w", file, err), "give a file that etcdguard ring export wrote"}
	}
	return d, nil
}

// withExport appends the provider that opens exports, if there is a passphrase.
func withExport(providers []kms.Provider, passphraseFile string) ([]kms.Provider, error) {
	if passphraseFile == "" {
		return providers, nil
	}
	export, err := openExport(passphraseFile)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(providers), export), nil
}

func openExport(passphraseFile string) (kms.Provider, error) {
	passphrase, err := kms.ReadPassphrase(passphraseFile)
	if err != nil {
		return nil, err
	}
	return kms.NewExport(passphrase)
}

// ringSummary is a document in one line.
func ringSummary(d *keyring.Document) string {
	return fmt.Sprintf("ring %v generation %d, phase %v, %d data keys", d.Ring, d.Generation, d.Phase, len(d.Keys))
}

// wraps groups what opens a document: which provider, with which key, which data keys.
func wrapRows(d *keyring.Document) [][]any {
	type opener struct{ provider, keyID string }
	var order []opener
	keys := map[opener][]string{}
	for _, k := range d.Keys {
		for _, w := range k.Wraps {
			o := opener{w.Provider, w.KeyID}
			if keys[o] == nil {
				order = append(order, o)
			}
			keys[o] = append(keys[o], fmt.Sprint(k.Number))
		}
	}
	rows := [][]any{{"PROVIDER", "KEY ID", "OPENS DATA KEYS"}}
	for _, o := range order {
		rows = append(rows, []any{o.provider, cell(o.keyID), strings.Join(keys[o], " ")})
	}
	return rows
}

// cell is text of a provider's choice, made to stay in its cell.
func cell(s string) string {
	if quoted := fmt.Sprintf("%q", s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}
