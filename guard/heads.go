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

	"github.com/etcdguard/etcdguard/policy"
)

// heads remembers which revision was the head when, so that a compaction can be
// judged by the age of what it destroys. It samples once a second and keeps an
// hour, and the last sample before that.
type heads struct {
	file   string
	onDisk Head // as the data was when the member started
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	samples []Head // oldest first; times and revisions only grow
}

// Head is the head revision at one time. The zero Head says nothing.
type Head struct {
	Time     time.Time `json:"time"`
	Revision int64     `json:"revision"`
}

const (
	headInterval = time.Second
	headGap      = 3 * time.Second // longer between two samples: the member was away
	headSaved    = 15 * time.Second
	headKept     = policy.MaxCompactionAge
)

func newHeads(file string, onDisk Head, now func() time.Time, log *slog.Logger) *heads {
	return &heads{file: file, onDisk: onDisk, now: now, log: log}
}

// oldness is what is known of the age of a revision.
type oldness uint8

const (
	unsure oldness = iota // it may be either: this member was away around that time
	young
	old
)

// judge says whether revision was the head at least age ago. A member that was away
// does not know what became of the head meanwhile: for revisions that it saw appear
// in one step across the limit it is unsure, and says so instead of denying what the
// other members know to be old.
func (h *heads) judge(revision int64, age time.Duration) oldness {
	limit := h.now().Add(-age)
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := false // something was seen at the limit or before it
	for _, s := range h.samples {
		if !s.Time.After(limit) {
			if revision <= s.Revision {
				return old
			}
			seen = limit.Sub(s.Time) <= headGap
			continue
		}
		// The first sample after the limit: what is above it came later.
		if revision > s.Revision || seen {
			return young
		}
		return unsure
	}
	if seen {
		return young
	}
	return unsure
}

// seenFor is how long revision is known to have been there; 0 if it was not seen.
func (h *heads) seenFor(revision int64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.samples {
		if revision <= s.Revision {
			return h.now().Sub(s.Time)
		}
	}
	return 0
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
	h.samples = append(h.samples, Head{now, revision})
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

// restore takes back what an earlier run saved, and what its data shows it to have
// lived to see, as far as it can be true.
func (h *heads) restore(head int64) {
	saved := h.load()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range append(saved, h.onDisk) {
		if !h.follows(s, head) {
			continue
		}
		h.samples = append(h.samples, s)
	}
}

// follows reports whether s can be the next sample: not from the future, not above
// the head, and not before what is there.
func (h *heads) follows(s Head, head int64) bool {
	if s.Time.IsZero() || s.Revision > head || s.Time.After(h.now()) {
		return false
	}
	if len(h.samples) == 0 {
		return true
	}
	last := h.samples[len(h.samples)-1]
	return s.Revision >= last.Revision && !s.Time.Before(last.Time)
}

func (h *heads) load() (saved []Head) {
	if h.file == "" {
		return nil
	}
	data, err := os.ReadFile(h.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &saved)
	}
	if err != nil {
		h.log.Warn("forgetting when revisions were made; compactions have to wait until they are old again",
			slog.String("file", h.file), slog.Any("error", err))
		return nil
	}
	return saved
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
