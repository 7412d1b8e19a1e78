package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// syncAfter is how long lines that nobody awaits are left to the next sync that
	// somebody does.
	syncAfter = 200 * time.Millisecond

	// stallAfter is how long a sync may take before the journal counts as failed, so
	// that callers have an answer while the disk has none.
	stallAfter = 5 * time.Second

	// A sync waits for company: companyEach for each line but the first that will be
	// awaited, companyMost at most, and not at all once somebody is waiting. Etcd
	// commits many requests at once; their lines should be one sync, too, and leave
	// the disk to etcd's own.
	companyEach = 100 * time.Microsecond
	companyMost = 4 * time.Millisecond

	retryFirst = 50 * time.Millisecond
	retryMost  = 5 * time.Second
)

var errStalled = errors.New("a sync does not return")

// group makes one sync serve all that wait for one. Its fields are guarded by
// Journal.mu.
type group struct {
	coming  *round // the sync that will begin next
	running *round // the sync under way, or nil

	demanded    uint64 // lines before it are being waited for
	overdue     bool   // nobody waits, but it is time
	announced   int    // lines that will be, since the last sync began
	announcedAt time.Time

	state syncerState
	kick  chan struct{}

	began    time.Time // the last sync
	stall    *time.Timer
	syncs    uint64
	syncTime time.Duration
	lastSync time.Duration
}

// A round is one sync, for those who wait for it.
type round struct {
	upTo uint64 // lines before it are in; known once it runs
	done chan struct{}
	over bool
}

func newRound() *round { return &round{done: make(chan struct{})} }

func (r *round) end() {
	if r != nil && !r.over {
		r.over = true
		close(r.done)
	}
}

type syncerState int

const (
	busy    syncerState = iota // will look again by itself
	pausing                    // waits for company
	idle                       // waits for anything
)

func (g *group) wake() {
	g.state = busy
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// demand has the lines before next synced without delay.
func (j *Journal) demand(next uint64) {
	g := &j.group
	g.demanded = max(g.demanded, next)
	g.hurry()
}

// hurry has the syncer look again if it waits.
func (g *group) hurry() {
	if g.state != busy {
		g.wake()
	}
}

// announce says that the last line will be awaited.
func (j *Journal) announce() {
	g := &j.group
	if g.announced++; g.announced == 1 {
		g.announcedAt = time.Now()
	}
	if g.state == idle {
		g.wake()
	}
}

// due is how long to wait before a sync; negative while none is wanted.
func (j *Journal) due() time.Duration {
	g := &j.group
	switch {
	case g.overdue || g.demanded > j.synced.Load():
		return 0
	case g.announced > 0:
		company := min(companyMost, companyEach*time.Duration(g.announced-1))
		return max(0, company-time.Since(g.announcedAt))
	}
	return -1
}

// Await returns when the line seq and all before it are on stable storage.
func (j *Journal) Await(ctx context.Context, seq uint64) error {
	if seq < j.synced.Load() {
		return nil
	}
	j.mu.Lock()
	for {
		switch {
		case seq < j.synced.Load():
			j.mu.Unlock()
			return nil
		case seq >= j.next:
			next := j.next
			j.mu.Unlock()
			return fmt.Errorf("awaiting line %d, and the next is %d", seq, next)
		case j.failure != nil:
			err := j.failure
			j.mu.Unlock()
			return err
		case j.closed && j.group.coming.over:
			j.mu.Unlock()
			return ErrClosed
		}
		r := j.group.running
		if r == nil || r.over || seq >= r.upTo {
			r = j.group.coming
			j.demand(seq + 1)
		}
		j.mu.Unlock()
		select {
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		j.mu.Lock()
	}
}

// Sync returns when all lines taken so far are on stable storage.
func (j *Journal) Sync(ctx context.Context) error {
	next := j.Next()
	if next == 0 {
		return nil
	}
	return j.Await(ctx, next-1)
}

// syncer is the one goroutine that syncs. It ends when the journal is closed and all
// is on stable storage, or once more could not be brought there.
func (j *Journal) syncer() {
	defer func() {
		j.mu.Lock()
		j.group.coming.end()
		j.mu.Unlock()
		close(j.syncDone)
	}()
	company := time.NewTimer(time.Hour)
	defer company.Stop()
	for {
		j.mu.Lock()
		failed, closed, due := j.failure != nil, j.closed, j.due()
		switch {
		case failed, closed, due == 0:
			j.group.state = busy
		case due > 0:
			j.group.state = pausing
		default:
			j.group.state = idle
		}
		j.mu.Unlock()
		switch {
		case failed:
			if !j.workAgain() {
				return
			}
		case closed:
			if j.sync() {
				return
			}
		case due == 0:
			j.sync()
		case due > 0:
			company.Reset(due)
			select {
			case <-j.group.kick:
			case <-company.C:
			}
		default:
			<-j.group.kick
		}
	}
}

// sync brings to stable storage what has been taken.
func (j *Journal) sync() (ok bool) {
	j.mu.Lock()
	if j.failure != nil || j.flush() != nil {
		j.mu.Unlock()
		return false
	}
	g := &j.group
	r := g.coming
	g.running, g.coming = r, newRound()
	r.upTo = j.next
	g.announced, g.overdue = 0, false
	parts := append([]*part(nil), j.parts...)
	written := j.part().written
	g.began = time.Now()
	g.stall.Reset(stallAfter)
	j.mu.Unlock()

	err := j.persist(parts)

	j.mu.Lock()
	defer j.mu.Unlock()
	g.stall.Stop()
	g.count(time.Since(g.began))
	g.running = nil
	if err != nil {
		j.fail(err)
		r.end()
		return false
	}
	j.settle(parts, written, r.upTo)
	r.end()
	return j.failure == nil
}

func (g *group) count(took time.Duration) {
	g.syncs++
	g.syncTime += took
	g.lastSync = took
}

// persist syncs parts, and then the names that are new. No line in them is answered
// for before all of it is done: a later part is worth nothing without an earlier one.
func (j *Journal) persist(parts []*part) error {
	named := true
	for _, p := range parts {
		if err := p.file.Datasync(); err != nil {
			return fmt.Errorf("syncing %s: %w", p.name(), err)
		}
		named = named && p.named
	}
	if named {
		return nil
	}
	if err := j.disk.Sync(); err != nil {
		return fmt.Errorf("syncing the directory: %w", err)
	}
	return nil
}

// settle lets go of parts that were synced, the last of them up to an offset. All
// segments but the last are complete.
func (j *Journal) settle(parts []*part, upTo int64, next uint64) {
	last := len(parts) - 1
	for i, p := range parts {
		p.named = true
		to := p.end()
		if i == last {
			to = upTo
		}
		j.kept -= p.forget(to)
	}
	if last > 0 {
		j.closing = append(j.closing, parts[:last]...)
		j.parts = append(j.parts[:0], j.parts[last:]...)
		j.wakeKeeper()
	}
	j.synced.Store(next)
	j.room.Broadcast()
}

// onStall says that a sync takes too long. What comes of it the syncer sees, when it
// returns.
func (j *Journal) onStall() {
	j.mu.Lock()
	if g := &j.group; g.running != nil && time.Since(g.began) >= stallAfter {
		j.fail(errStalled)
	}
	j.mu.Unlock()
}

// fail makes every call fail from now on, until workAgain. It returns the error for a
// line that was taken.
func (j *Journal) fail(cause error) error {
	since, before := time.Now(), j.failure
	if before != nil {
		since = before.Since
	}
	j.failure = &FailedError{Cause: cause, Since: since}
	j.taken = &FailedError{Cause: cause, Since: since, Taken: true}
	if before == nil {
		j.config.Log.Error("the audit journal failed; it is tried until it works", slog.Any("error", cause))
		j.tell(j.failure)
	}
	g := &j.group
	g.running.end()
	if g.coming.end(); !j.closed {
		g.coming = newRound()
	}
	j.room.Broadcast()
	g.wake()
	return j.taken
}

// workAgain tries until all that was taken is on stable storage, and the journal is as
// if it had not failed. Once the journal is closed it tries once more.
func (j *Journal) workAgain() (ok bool) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		err := j.rewrite()
		if err == nil {
			return true
		}
		j.mu.Lock()
		j.fail(err)
		closed := j.closed
		j.mu.Unlock()
		if closed {
			return false
		}
		select {
		case <-j.stop:
		case <-time.After(pause):
		}
	}
}

// rewrite writes again all that is not known to be on stable storage, where it was
// written before, and syncs it. A sync that failed has left the disk with any of it,
// and the cache with the belief that the disk has all of it.
//
// The parts stand still meanwhile: nothing is taken while the journal fails. Open does
// the same, with the end of what it read, before anything is taken.
func (j *Journal) rewrite() error {
	j.mu.Lock()
	parts := append([]*part(nil), j.parts...)
	next := j.next
	j.group.began = time.Now()
	j.mu.Unlock()

	for _, p := range parts {
		if _, err := p.file.WriteAt(p.buf, p.base); err != nil {
			return fmt.Errorf("writing %s: %w", p.name(), err)
		}
	}
	if err := j.persist(parts); err != nil {
		return err
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	j.group.count(time.Since(j.group.began))
	p := j.part()
	p.written = p.end()
	j.settle(parts, p.written, next)
	if j.turning {
		if err := j.turn(); err != nil {
			return err
		}
		j.turning = false
	}
	if j.failure != nil {
		j.config.Log.Info("the audit journal works again", slog.Duration("failed", time.Since(j.failure.Since)))
		j.tell(nil)
	}
	j.failure, j.taken = nil, nil
	j.group.announced, j.group.overdue = 0, false
	return nil
}

// tell has the herald say that the journal fails, or works again.
func (j *Journal) tell(err error) {
	j.news = append(j.news, err)
	select {
	case j.told <- struct{}{}:
	default:
	}
}

// herald is the goroutine that calls Failing, for each change in its order. It is one of
// its own so that the owner may append what it has to say of it.
func (j *Journal) herald() {
	defer close(j.heraldDone)
	for last := false; !last; {
		select {
		case <-j.told:
		case <-j.syncDone: // nothing changes any more
			last = true
		}
		j.mu.Lock()
		news := j.news
		j.news = nil
		j.mu.Unlock()
		for _, err := range news {
			if j.config.Failing != nil {
				j.config.Failing(err)
			}
		}
	}
}
