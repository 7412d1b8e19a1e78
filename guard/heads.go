package guard

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// heads remembers which revision was the head when, so that a compaction can be
// judged by the age of what it destroys. It samples once a second and keeps an
// hour, and the last sample before that.
type heads struct {
	file string
	now  func() time.Time
	log  *slog.Logger

	mu      sync.Mutex
	samples []headSample // oldest first; times and revisions only grow
}

type headSample struct {
	Time     time.Time `json:"time"`
	Revision int64     `json:"revision"`
}

const (
	headInterval = time.Second
	headSaved    = 15 * time.Second
	headKept     = time.Hour
)

func newHeads(file string, now func() time.Time, log *slog.Logger) *heads {
	return &heads{file: file, now: now, log: log}
}

// before is a revision that was the head at least age ago, the highest that is
// known; 0 when none is.
func (h *heads) before(age time.Duration) int64 {
	limit := h.now().Add(-age)
	h.mu.Lock()
	defer h.mu.Unlock()
	var known int64
	for _, s := range h.samples {
		if s.Time.After(limit) {
			break
		}
		known = s.Revision
	}
	return known
}

func (h *heads) add(revision int64) {
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.samples); n > 0 {
		last := h.samples[n-1]
		if revision < last.Revision || now.Before(last.Time) {
			// The store was replaced by an older one, or the clock went back: what
			// was remembered is of no worth.
			h.samples = nil
		}
	}
	h.samples = append(h.samples, headSample{now, revision})
	for len(h.samples) > 1 && now.Sub(h.samples[1].Time) > headKept {
		h.samples = h.samples[1:]
	}
}

func (h *heads) run(ctx context.Context, etcd Etcd) {
	h.restore(etcd.Header().Revision)
	sample := time.NewTicker(headInterval)
	defer sample.Stop()
	save := time.NewTicker(headSaved)
	defer save.Stop()
	for {
		h.add(etcd.Header().Revision)
		select {
		case <-ctx.Done():
			h.save()
			return
		case <-sample.C:
		case <-save.C:
			h.save()
		}
	}
}

// restore takes back what an earlier run saved, as far as it can be true: nothing
// from the future, and nothing above the head.
func (h *heads) restore(head int64) {
	if h.file == "" {
		return
	}
	data, err := os.ReadFile(h.file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var saved []headSample
	if err == nil {
		err = json.Unmarshal(data, &saved)
	}
	if err != nil {
		h.log.Warn("forgetting when revisions were made; compactions are denied until they are old again",
			slog.String("file", h.file), slog.Any("error", err))
		return
	}
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range saved {
		if s.Revision > head || s.Time.After(now) || i > 0 && (s.Revision < saved[i-1].Revision || s.Time.Before(saved[i-1].Time)) {
			break
		}
		h.samples = append(h.samples, s)
	}
}

// save writes the samples, whole or not at all. Losing them delays a compaction;
// it is no reason to stop.
func (h *heads) save() {
	if h.file == "" {
		return
	}
	h.mu.Lock()
	data, err := json.Marshal(h.samples)
	h.mu.Unlock()
	if err == nil {
		err = os.WriteFile(h.file+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(h.file+".new", h.file)
	}
	if err != nil {
		h.log.Warn("saving when revisions were made", slog.String("file", h.file), slog.Any("error", err))
	}
}
