package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

const sealStatusHelp = `Show how far sealing is: the phase, the data keys and what wraps them, the
members and what they have acknowledged, and how the stored values are sealed, by
data key and by prefix.

Counting reads every value, gently; --fast leaves it out. The counts are true
between the two revisions that they name. Values of Kubernetes are counted by
resource, others by the first part of their key.

Exit codes: 0 nothing needs attention; 1 something does, and is named at the end.

The names in -o json are stable: status with configured, ring, generation, phase,
keys, providers, members, member, inForce, refusal, quarantined, sizes; counts with
fromRevision, toRevision, total, prefixes; attention.`

func newSealStatusCommand() *cobra.Command {
	var a *admin
	var output string
	var fast bool
	cmd := &cobra.Command{
		Use: "status", Short: "phase, keys, members, and how values are stored",
		Long: sealStatusHelp, Example: "  etcdguard seal status\n  etcdguard seal status --fast -o json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			status, err := a.client.Status(cmd.Context())
			if err != nil {
				return err
			}
			var counts *reseal.Survey
			if !fast {
				counts = &reseal.Survey{}
				if err := a.do(cmd.Context(), etcdapi.SealCount, control.CountRequest{}, counts); err != nil {
					return err
				}
			}
			attention := needsAttention(status, counts)
			if output == "json" {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"status": status, "counts": counts, "attention": append([]string{}, attention...)})
			} else {
				err = printSealStatus(cmd.OutOrStdout(), status, counts, attention, a.flags)
			}
			if err == nil && len(attention) > 0 {
				return silent{}
			}
			return err
		},
	}
	a = adminFlags(cmd)
	cmd.Flags().BoolVar(&fast, "fast", false, "do not count values")
	outputFlag(cmd, &output)
	return cmd
}

// needsAttention is what an operator should not leave as it is.
func needsAttention(s *control.Status, counts *reseal.Survey) (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for _, m := range s.Members {
		name := memberName(m)
		if m.Unguarded {
			add("%s runs without etcdguard: what is written there is not sealed", name)
		}
		if m.Waiting != "" {
			add("%s does not serve: %s", name, m.Waiting)
		}
	}
	for _, p := range s.Providers {
		if !p.Healthy {
			add("key provider %s does not work: %s", p.Name, p.Problem)
		}
	}
	if s.Refusal != "" {
		add("this member refuses writes: %s", s.Refusal)
	}
	if s.Quarantined > 0 {
		add("values in quarantine: %d; etcdguard seal quarantine list", s.Quarantined)
	}
	if counts != nil {
		if s.Phase == keyring.Strict && counts.Total.Plaintext > 0 {
			add("values in plaintext where every one should be sealed: %d; the first is %q", counts.Total.Plaintext, counts.FirstPlaintext[0])
		}
		if counts.Total.Odd > 0 {
			add("values that this ring did not seal: %d; etcdguard seal quarantine list", counts.Total.Odd)
		}
	}
	return all
}

func memberName(m keyring.MemberStatus) string {
	if m.Name == "" {
		return m.ID
	}
	return m.Name
}

// printSealStatus shows what a member says, and what others told it of themselves.
func printSealStatus(out io.Writer, s *control.Status, counts *reseal.Survey, attention []string, flags string) error {
	w := &strings.Builder{}
	if s.Ring == nil {
		fmt.Fprintln(w, "phase off: nothing is sealed, and there is no ring")
	} else {
		fmt.Fprintf(w, "phase %v, ring %v, generation %d\n\n", s.Phase, *s.Ring, s.Generation)
	}
	errs := []error{printKeys(w, s, counts), printSealMembers(w, s), printCounts(w, counts)}
	if len(attention) > 0 {
		fmt.Fprintln(w, "\nneeds attention:")
		for _, a := range attention {
			fmt.Fprintf(w, "  %s\n", a)
		}
	}
	if next := nextStep(s, counts); next != "" {
		fmt.Fprintf(w, "\nnext: %s%s\n", next, flags)
	}
	_, err := io.WriteString(out, legible(w.String()))
	return errors.Join(append(errs, err)...)
}

func printKeys(w io.Writer, s *control.Status, counts *reseal.Survey) error {
	if len(s.Keys) == 0 {
		return nil
	}
	rows := [][]any{{"DATA KEY", "STATE", "CREATED", "WRAPPED BY", "VALUES"}}
	for _, k := range s.Keys {
		var wrapped []string
		for _, w := range k.WrappedBy {
			wrapped = append(wrapped, w.Provider)
		}
		live := any("-")
		if counts != nil {
			live = counts.Total.ByKey[k.Number]
		}
		rows = append(rows, []any{k.Number, k.State, k.Created.Format("2006-01-02"), strings.Join(wrapped, ", "), live})
	}
	return table(w, rows...)
}

func printSealMembers(w io.Writer, s *control.Status) error {
	if len(s.Members) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows := [][]any{{"MEMBER", "STATE", "ACKNOWLEDGED", "PHASE", "VERSION"}}
	for _, m := range s.Members {
		state := "not seen"
		switch {
		case m.Unguarded:
			state = "unguarded"
		case m.Waiting != "":
			state = "waits"
		case m.Guarded && m.Confirmed:
			state = "up to date"
		case m.Guarded:
			state = "behind"
		}
		acknowledged, phase, version := any("-"), any("-"), m.Version
		if m.Acknowledged > 0 {
			acknowledged, phase = m.Acknowledged, m.Phase
		}
		if version == "" {
			version = "-"
		}
		rows = append(rows, []any{memberName(m), state, acknowledged, phase, version})
	}
	return table(w, rows...)
}

// printCounts shows values by prefix, a column for each data key that is in use.
func printCounts(w io.Writer, s *reseal.Survey) error {
	if s == nil {
		return nil
	}
	keys := slices.Sorted(maps.Keys(s.Total.ByKey))
	head := []any{"PREFIX", "VALUES", "PLAINTEXT"}
	for _, k := range keys {
		head = append(head, fmt.Sprintf("KEY %d", k))
	}
	if s.Total.Odd > 0 {
		head = append(head, "OTHER")
	}
	rows := [][]any{head}
	add := func(name string, c reseal.Counts) { rows = append(rows, countRow(name, c, keys, s.Total.Odd > 0)) }
	for i, name := range s.Names() {
		if i == maxPrefixesShown {
			fmt.Fprintf(w, "\n%d prefixes more; -o json has all", len(s.Prefixes)-i)
			break
		}
		add(shownPrefix(name), s.Prefixes[name])
	}
	add("in all", s.Total)
	fmt.Fprintln(w)
	err := table(w, rows...)
	fmt.Fprintf(w, "counted from revision %d to %d\n", s.From, s.To)
	return err
}

const maxPrefixesShown = 100

// shownPrefix keeps bytes that are no text off the terminal.
func shownPrefix(name string) string {
	if quoted := fmt.Sprintf("%q", name); len(quoted) != len(name)+2 {
		return quoted
	}
	return name
}

func countRow(name string, c reseal.Counts, keys []seal.KeyNumber, odd bool) []any {
	row := []any{name, c.Values, c.Plaintext}
	for _, k := range keys {
		row = append(row, c.ByKey[k])
	}
	if odd {
		row = append(row, c.Odd)
	}
	return row
}

// nextStep is the command that leads on, if one does.
func nextStep(s *control.Status, counts *reseal.Survey) string {
	old := false
	if counts != nil {
		for _, k := range s.Keys {
			old = old || k.State == keyring.Retired && counts.Total.ByKey[k.Number] > 0
		}
	}
	switch {
	case !s.Configured:
		return "" // docs/sealing.md; there is no command for it
	case s.Ring == nil:
		return "etcdguard seal enable --dry-run"
	case s.Phase == keyring.CanOpen:
		return "etcdguard seal enable (or disable) --dry-run"
	case s.Phase == keyring.Sealing:
		return "etcdguard seal enable --dry-run"
	case old:
		return "etcdguard seal reseal"
	}
	for _, k := range s.Keys {
		if k.State == keyring.Retired && counts != nil {
			return fmt.Sprintf("etcdguard seal retire %d", k.Number)
		}
	}
	return ""
}
