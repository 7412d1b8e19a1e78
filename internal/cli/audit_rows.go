package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/etcdguard/etcdguard/audit/search"
)

// auditPrinter prints rows of the record. What callers and keys are called is theirs to
// choose: nothing of it speaks to the terminal.
type auditPrinter struct {
	out      io.Writer
	json     bool
	raw      bool // intents and outcomes each on a line of its own
	utc      bool
	logs     bool // there are several: say which
	colour   bool
	terminal bool

	widths []int
	batch  []auditLine
}

type auditLine struct {
	cells  []string
	colour string
}

const (
	red, yellow, plain = "\x1b[31m", "\x1b[33m", "\x1b[0m"

	// printBatch is how many rows are lined up with each other.
	printBatch = 1000
)

func newAuditPrinter(out io.Writer) *auditPrinter {
	p := &auditPrinter{out: out}
	if f, ok := out.(*os.File); ok {
		p.terminal = term.IsTerminal(int(f.Fd()))
	}
	p.colour = p.terminal && os.Getenv("NO_COLOR") == ""
	return p
}

// row takes a row, to be printed by the next flush at the latest.
func (p *auditPrinter) row(r *search.Row) error {
	events := []*search.Event{r.Event}
	if r.Outcome != nil {
		events = append(events, r.Outcome)
	}
	switch {
	case p.json:
		for _, e := range events {
			if err := p.line(r.Log, e); err != nil {
				return err
			}
		}
		return nil
	case p.raw:
		for _, e := range events {
			p.add(&search.Row{Log: r.Log, Event: e})
		}
	default:
		p.add(r)
	}
	if len(p.batch) >= printBatch {
		return p.flush()
	}
	return nil
}

// line prints an event as it is on record. For a terminal what is not printable is
// escaped, which is the same JSON.
func (p *auditPrinter) line(log string, e *search.Event) error {
	line := e.Line
	if p.terminal {
		line = escapeJSON(line)
	}
	if p.logs {
		name, err := json.Marshal(log)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.out, `{"log":%s,"event":%s}`+"\n", name, line)
		return err
	}
	_, err := p.out.Write(append(bytes.Clone(line), '\n'))
	return err
}

// escapeJSON writes runes of a JSON text that are not printable as \u escapes. They
// stand in strings: elsewhere JSON has none.
func escapeJSON(line []byte) []byte {
	var out []byte
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			out = append(out, string(utf8.RuneError)...)
		case unicode.IsPrint(r):
			out = append(out, line[i:i+size]...)
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
		i += size
	}
	return out
}

func (p *auditPrinter) header() {
	p.cells("", "SEQ", "TIME", "CALLER", "ACTION", "KEY", "RESULT", "REV", "KEYS", "BYTES", "TOOK")
	if p.logs {
		last := &p.batch[len(p.batch)-1]
		last.cells = append([]string{"LOG"}, last.cells...)
	}
}

func (p *auditPrinter) cells(colour string, cells ...string) {
	p.batch = append(p.batch, auditLine{cells, colour})
}

func (p *auditPrinter) add(r *search.Row) {
	if p.widths == nil {
		p.widths = []int{}
		p.header()
	}
	e, last := r.Event, r.Last()
	at := e.Time.Local()
	if p.utc {
		at = e.Time.UTC()
	}
	caller := "-"
	if e.Caller != nil {
		caller = e.Caller.Name
	}
	key := auditKeys(e)
	if key == "" {
		key = auditAbout(e)
	}
	cells := []string{
		strconv.FormatUint(e.Seq, 10), at.Format("2006-01-02 15:04:05.000"), quoted(caller), quoted(orNone(e.Action)), key,
		p.result(r), orDash(last.Rev), orDash(last.Keys), orDash(last.Bytes), took(last.Micros),
	}
	if e.Action == "" {
		cells[3] = quoted(e.Kind)
	}
	if p.utc {
		cells[1] += "Z"
	}
	if p.logs {
		cells = append([]string{quoted(r.Log)}, cells...)
	}
	p.cells(auditColour(r), cells...)
}

func auditColour(r *search.Row) string {
	switch service, _, _ := strings.Cut(r.Event.Action, "."); {
	case r.Event.Kind == "denied", r.Event.Kind == "handshake", r.Event.Kind == "gap", r.Event.Result == "forked":
		return red
	case service == "Cluster", service == "Maintenance", service == "Auth", service == "Seal", service == "Ring":
		return yellow
	}
	return ""
}

// flush prints what was taken, in columns as wide as the widest so far.
func (p *auditPrinter) flush() error {
	const mostWide = 60 // of the key: one long name must not push all others to the right
	for _, line := range p.batch {
		for i, cell := range line.cells {
			if i == len(p.widths) {
				p.widths = append(p.widths, 0)
			}
			p.widths[i] = max(p.widths[i], min(utf8.RuneCountInString(cell), mostWide))
		}
	}
	var b bytes.Buffer
	for _, line := range p.batch {
		var text strings.Builder
		for i, cell := range line.cells {
			text.WriteString(cell)
			text.WriteString(strings.Repeat(" ", max(p.widths[i]-utf8.RuneCountInString(cell), 0)+2))
		}
		said := strings.TrimRight(text.String(), " ")
		if p.colour && line.colour != "" {
			said = line.colour + said + plain
		}
		b.WriteString(said + "\n")
	}
	p.batch = p.batch[:0]
	_, err := p.out.Write(b.Bytes())
	return err
}

// result says how a request ended.
func (p *auditPrinter) result(r *search.Row) string {
	e, last := r.Event, r.Last()
	result := last.Code
	switch {
	case e.Kind == "denied", p.raw && r.Unanswered(): // raw, its outcome is another row
		return quoted(orNone(e.Decision))
	case r.Unanswered():
		result = "no answer yet"
	case result == "":
		result = e.Result
	}
	if e.Decision == "observed" {
		result = strings.TrimPrefix(result+", observed", ", ")
	}
	return quoted(orNone(result))
}

// auditKeys is what an event reaches, in short.
func auditKeys(e *search.Event) string {
	var all []string
	for i := range e.Access {
		a := &e.Access[i]
		keys, keyed := a.Reach()
		if !keyed {
			continue
		}
		said := keysText(keys, a.End == nil && a.End64 == nil)
		if a.KeyBytes > 0 {
			said = quoted(string(keys.Begin)) + "… (cut)"
		}
		if len(all) == 0 || all[len(all)-1] != said {
			all = append(all, said)
		}
	}
	if len(all) == 0 {
		return ""
	}
	more := e.More
	for _, said := range all[1:] {
		if said != all[0] {
			more++
		}
	}
	if more > 0 {
		return fmt.Sprintf("%s (+%d)", all[0], more)
	}
	return all[0]
}

func keysText(k search.Keys, one bool) string {
	begin := string(k.Begin)
	switch {
	case one:
		return quoted(begin)
	case k.End == nil:
		return "from " + quoted(begin)
	case string(search.Prefix(k.Begin).End) == string(k.End):
		return quoted(begin) + "*"
	}
	return quoted(begin) + " to " + quoted(string(k.End))
}

// auditAbout is what an event without keys is about.
func auditAbout(e *search.Event) string {
	said := []string{}
	add := func(text string) {
		if text != "" {
			said = append(said, quoted(text))
		}
	}
	add(e.What)
	add(e.Target)
	add(e.Origin)
	if e.Of != nil {
		add(fmt.Sprintf("of %d", *e.Of))
	}
	if e.Lease != "" {
		add("lease " + e.Lease)
	}
	if e.Revision != 0 {
		add(fmt.Sprintf("revision %d", e.Revision))
	}
	if len(e.Counts) > 0 {
		n := int64(0)
		for _, c := range e.Counts {
			n += c.N
		}
		add(fmt.Sprintf("%d counted", n))
	}
	add(e.Reason)
	return strings.Join(said, ", ")
}

// quoted is text as it is if it can be read, and with Go's escapes if not.
func quoted(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return s
}

func took(micros int64) string {
	if micros == 0 {
		return "-"
	}
	return (time.Duration(micros) * time.Microsecond).String()
}
