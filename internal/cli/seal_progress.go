package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressLine shows lines, and one that changes in place on a terminal. Elsewhere
// that one is said now and then.
type progressLine struct {
	to       io.Writer
	terminal bool
	open     bool
	said     time.Time
}

// sayEvery is how often a log is told how far a call is.
const sayEvery = 10 * time.Second

func newProgressLine(to io.Writer) *progressLine {
	f, ok := to.(*os.File)
	return &progressLine{to: to, terminal: ok && term.IsTerminal(int(f.Fd())), said: time.Now()}
}

func (p *progressLine) line(text string) {
	p.end()
	fmt.Fprintln(p.to, text)
}

func (p *progressLine) transient(text string) {
	if p.terminal {
		fmt.Fprintf(p.to, "\r\x1b[K%s", text)
		p.open = true
	} else if time.Since(p.said) >= sayEvery {
		p.said = time.Now()
		fmt.Fprintln(p.to, text)
	}
}

func (p *progressLine) end() {
	if p.open {
		fmt.Fprint(p.to, "\r\x1b[K")
		p.open = false
	}
}
