package cli

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// meter is one line on a terminal that says how far reading is; on anything else
// it is nothing.
type meter struct {
	out   *os.File
	begin time.Time

	mu   sync.Mutex
	last time.Time
}

func newMeter(out *os.File) *meter {
	p := &meter{begin: time.Now()}
	if term.IsTerminal(int(out.Fd())) {
		p.out = out
	}
	return p
}

// update may be called by many goroutines as often as they like.
func (p *meter) update(done, total int64) {
	if p.out == nil || total == 0 || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last = now
	const width = 30
	full := int(done * width / total)
	rate := float64(done) / max(now.Sub(p.begin).Seconds(), 0.001)
	left := time.Duration(float64(total-done) / max(rate, 1) * float64(time.Second)).Round(time.Second)
	fmt.Fprintf(p.out, "\r\x1b[K[%s%s] %3d %%  %s of %s  %s/s  %s left", strings.Repeat("#", full), strings.Repeat(".", width-full),
		done*100/total, bytesText(done), bytesText(total), bytesText(int64(rate)), left)
}

// done clears the line.
func (p *meter) done() {
	if p.out != nil {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
