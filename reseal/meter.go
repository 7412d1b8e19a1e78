package reseal

import (
	"sync"
	"time"
)

// meter is a rate over the last marks.
type meter struct {
	mu    sync.Mutex
	marks [16]struct {
		at    time.Time
		count int64
	}
	next, filled int
}

func (m *meter) mark(at time.Time, count int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks[m.next].at, m.marks[m.next].count = at, count
	m.next = (m.next + 1) % len(m.marks)
	m.filled = min(m.filled+1, len(m.marks))
}

// perSecond is the rate between the oldest and the newest mark, or 0.
func (m *meter) perSecond() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.filled < 2 {
		return 0
	}
	newest := m.marks[(m.next+len(m.marks)-1)%len(m.marks)]
	oldest := m.marks[(m.next+len(m.marks)-m.filled)%len(m.marks)]
	d := newest.at.Sub(oldest.at).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(newest.count-oldest.count) / d
}
