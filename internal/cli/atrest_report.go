package cli

import (
	"fmt"
	"io"
	"strconv"

	"github.com/etcdguard/etcdguard/atrest"
)

// maxKeysShown and maxGroupsShown are for people; -o json has everything.
const (
	maxKeysShown   = 100
	maxGroupsShown = 200
)

func printAtrest(w io.Writer, r *atrest.Report, breaches []string) error {
	fmt.Fprintf(w, "%s\n\n", r.Verdict)
	for _, print := range []func(io.Writer, *atrest.Report) error{printAtrestGroups, printAtrestFiles, printAtrestAside, printAtrestKeys} {
		if err := print(w, r); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nnot looked at:\n")
	for _, g := range r.NotLookedAt {
		fmt.Fprintf(w, "  %s: %s\n", printableOnly(g.What), printableOnly(g.Why))
	}
	if len(breaches) > 0 {
		fmt.Fprintf(w, "\nnot as expected:\n")
	}
	for _, b := range breaches {
		fmt.Fprintf(w, "  %s\n", printableOnly(b))
	}
	return nil
}

func printAtrestGroups(w io.Writer, r *atrest.Report) error {
	lines := [][]any{{"KEYS", "FORM", "LIVE", "HISTORY", "LOG", "RESIDUE", "BYTES"}}
	for i, g := range r.Groups {
		if i == maxGroupsShown {
			lines = append(lines, []any{fmt.Sprintf("and %d more groups; -o json has all", len(r.Groups)-i), "", "", "", "", "", ""})
			break
		}
		name := groupText(g)
		for _, row := range g.Rows {
			lines = append(lines, countsLine(name, formText(row.Form), row.Places))
			name = ""
		}
	}
	for i, row := range r.Totals {
		name := ""
		if i == 0 {
			name = "all"
		}
		lines = append(lines, countsLine(name, formText(row.Form), row.Places))
	}
	return table(w, lines...)
}

func countsLine(name, form string, p atrest.Places) []any {
	return []any{name, form, orDash(p.Live.Values), orDash(p.History.Values), orDash(p.Log.Values), orDash(p.Residue.Values), bytesText(p.Total().Bytes)}
}

func groupText(g atrest.Group) string {
	prefix, err := strconv.Unquote(g.Prefix)
	switch {
	case g.Object != "":
		return "(fragments: " + printableOnly(g.Object) + ")"
	case err == nil && prefix == "":
		return "(no path)"
	case g.Resource != "":
		return g.Prefix + " " + printableOnly(g.Resource)
	}
	return g.Prefix
}

func formText(f atrest.Form) string {
	text := string(f.Kind)
	if f.Provider != "" {
		text += " " + f.Provider + " " + strconv.Quote(f.KeyName)
	}
	if f.Ring != "" {
		text += fmt.Sprintf(" ring %s key %d", f.Ring, f.Key)
	}
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	return printableOnly(text)
}

func orDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	value, unit := float64(n), 0
	for value >= 1024 && unit < 5 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%.1f %ciB", value, " KMGTP"[unit])
}

func printAtrestFiles(w io.Writer, r *atrest.Report) error {
	lines := [][]any{{"FILE", "IS", "SIZE", "PAGES USED", "FREE", "TAIL", "RECORDS", "LOOSE BYTES"}}
	for _, f := range r.Files {
		lines = append(lines, []any{printableOnly(f.Path), f.Kind, bytesText(f.Size), orDash(f.UsedPages), orDash(f.FreePages), orDash(f.TailPages), orDash(f.Records), orDash(f.LooseBytes)})
	}
	fmt.Fprintln(w)
	if err := table(w, lines...); err != nil {
		return err
	}
	for _, f := range r.Files {
		if f.Checksum != "" {
			fmt.Fprintf(w, "%s: the snapshot's checksum is %s\n", printableOnly(f.Path), f.Checksum)
		}
		if f.Moved != "" {
			fmt.Fprintf(w, "%s: changed while it was read: %s\n", printableOnly(f.Path), f.Moved)
		}
		for _, p := range f.Problems {
			fmt.Fprintf(w, "%s: %s\n", printableOnly(f.Path), printableOnly(p))
		}
	}
	return nil
}

// printAtrestAside prints what is not about values of keys.
func printAtrestAside(w io.Writer, r *atrest.Report) error {
	if len(r.Credentials) > 0 {
		fmt.Fprintln(w)
		lines := [][]any{{"LOOKS LIKE A", "LIVE", "HISTORY", "LOG", "RESIDUE"}}
		for _, c := range r.Credentials {
			lines = append(lines, []any{c.Shape, orDash(c.Live.Values), orDash(c.History.Values), orDash(c.Log.Values), orDash(c.Residue.Values)})
		}
		if err := table(w, lines...); err != nil {
			return err
		}
	}
	if len(r.Buckets) > 0 {
		fmt.Fprintln(w)
	}
	lines := [][]any{{"BUCKET", "ENTRIES"}}
	for _, b := range r.Buckets {
		lines = append(lines, []any{b.Name, b.Entries})
	}
	if len(r.Buckets) == 0 {
		return nil
	}
	return table(w, lines...)
}

func printAtrestKeys(w io.Writer, r *atrest.Report) error {
	if len(r.Keys) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	lines := [][]any{{"KEY WITH A PLAINTEXT VALUE", "WHERE", "FILE"}}
	for i, k := range r.Keys {
		if i == maxKeysShown {
			lines = append(lines, []any{fmt.Sprintf("and %d more; -o json has them", len(r.Keys)-i), "", ""})
			break
		}
		lines = append(lines, []any{k.Name, k.Place, printableOnly(k.File)})
	}
	if r.KeysOmitted {
		lines = append(lines, []any{"and more than are listed", "", ""})
	}
	return table(w, lines...)
}

// printableOnly keeps what a file says from speaking to the terminal.
func printableOnly(s string) string {
	if q := strconv.Quote(s); len(q) == len(s)+2 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
