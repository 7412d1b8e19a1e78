package control

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// lineTime is how long the caller may take for one line of an answer.
const lineTime = 30 * time.Second

// stream is the answer to a long call: one Event a line.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	beat    time.Duration

	mu     sync.Mutex
	begun  bool
	gone   bool // the caller is
	last   time.Time
	seenAt time.Time
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

func newStream(w http.ResponseWriter, beat time.Duration) *stream {
	return &stream{w: w, control: http.NewResponseController(w), beat: beat, ended: make(chan struct{}), cancel: func(error) {}}
}

// context is the call's: it ends with the caller.
func (s *stream) context(ctx context.Context) context.Context {
	ctx, s.cancel = context.WithCancelCause(ctx)
	go s.beatOn(ctx)
	return ctx
}

// beatOn shows the caller that the call is under way, and this side that the caller
// is: a connection that broke is noticed by writing.
func (s *stream) beatOn(ctx context.Context) {
	tick := time.NewTicker(s.beat)
	defer tick.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			s.mu.Lock()
			if time.Since(s.last) >= s.beat {
				s.write(Event{})
			}
			s.mu.Unlock()
		}
	}
}

func (s *stream) send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(e)
}

// line tells people what happens.
func (s *stream) line(text string) { s.send(Event{Line: text}) }

// seen tells how many values were looked at, about once in a second.
func (s *stream) seen(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.seenAt) >= time.Second {
		s.seenAt = time.Now()
		s.write(Event{Seen: n})
	}
}

func (s *stream) write(e Event) {
	if s.gone {
		return
	}
	s.last = time.Now()
	// The server's own deadline is for short requests: each line has one of its own.
	_ = s.control.SetWriteDeadline(s.last.Add(lineTime))
	if !s.begun {
		plain(s.w, http.StatusOK)
		s.begun = true
	}
	err := json.NewEncoder(s.w).Encode(e)
	if err == nil {
		err = s.control.Flush()
	}
	if err != nil {
		s.gone = true
		s.cancel(err)
	}
}

// end sends the last line. A call that failed before it said anything is answered with
// a status of its own.
func (s *stream) end(result any, err error) {
	close(s.ended)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.cancel(nil)
	defer func() { s.gone = true }() // the writer is the server's again
	if err != nil && !s.begun {
		_ = s.control.SetWriteDeadline(time.Now().Add(lineTime))
		refuse(s.w, asError(err))
		return
	}
	e := Event{}
	if err == nil {
		e.Result, err = json.Marshal(result)
	}
	if err != nil {
		e.Error = asError(err)
		if result != nil {
			e.Error.Part, _ = json.Marshal(result)
		}
	}
	s.write(e)
}
