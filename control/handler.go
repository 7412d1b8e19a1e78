package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/reseal"
	"github.com/etcdguard/etcdguard/seal"
)

// Etcd is this member's etcd: asked past the guard, with etcd's own root credential.
type Etcd interface {
	reseal.Store
	reseal.History
	// Sizes are those of this member's database.
	Sizes() reseal.Sizes
}

// Keeper is what the handler asks of keyring.Keeper, which says what each does.
type Keeper interface {
	Ring() *keyring.Ring
	Document() *keyring.Document
	Status(ctx context.Context) (keyring.Status, error)
	Step(ctx context.Context, to keyring.Phase, check func(ctx context.Context) error, report func(line string)) error
	AddKey(ctx context.Context) (seal.KeyNumber, error)
	Activate(ctx context.Context, number seal.KeyNumber, report func(line string)) error
	Remove(ctx context.Context, number seal.KeyNumber, report func(line string)) error
}

// Config is what a handler needs.
type Config struct {
	Keeper Keeper       // required
	Etcd   Etcd         // required
	Log    *slog.Logger // takes every change that is asked for, and how it ended; required
	// Caller names who asks, for the log; nil: nobody is named.
	Caller func(*http.Request) string
	// Now is the clock of backups; nil is time.Now.
	Now func() time.Time
	// Beat is how often a long call says that it is under way; 0 is 5 s.
	Beat time.Duration
}

// MaxRequest is the size of the largest request, in bytes: key names are long.
const MaxRequest = 64 << 10

// maxCalls bounds the long calls under way: each of them reads the whole database.
const maxCalls = 4

// Handler serves the calls of the administration.
type Handler struct {
	Config
	mux     *http.ServeMux
	calls   chan struct{}
	closing context.Context
	stop    context.CancelCauseFunc

	mu       sync.Mutex
	closed   bool
	underWay sync.WaitGroup
}

// ServeHTTP implements http.Handler. It refuses everything once Close was called.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		refuse(w, errClosing)
		return
	}
	h.underWay.Add(1)
	h.mu.Unlock()
	defer h.underWay.Done()
	h.mux.ServeHTTP(w, r)
}

var errClosing = refusal(http.StatusServiceUnavailable, "this member stops", "ask another member, or this one when it runs again; what was done stays")

// Close stops every call under way and returns when they have ended: etcd can be
// closed then.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.stop(errClosing)
	h.underWay.Wait()
}

// NewHandler makes a Handler. It has to stand behind guard.HTTP, which judges who may
// make which call.
func NewHandler(c Config) *Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Caller == nil {
		c.Caller = func(*http.Request) string { return "" }
	}
	if c.Beat == 0 {
		c.Beat = 5 * time.Second
	}
	h := &Handler{Config: c, calls: make(chan struct{}, maxCalls), mux: http.NewServeMux()}
	h.closing, h.stop = context.WithCancelCause(context.Background())
	mux := h.mux
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealStatus), readOnly(h.status))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.RingExport), readOnly(h.ring))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealCount), call(h, "count", h.count))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealPhase), call(h, "phase", h.phase))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealRotate), call(h, "rotate", h.rotate))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealRetire), call(h, "retire", h.retire))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealReseal), call(h, "reseal", h.reseal))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealQuarantine), call(h, "quarantine", h.quarantine))
	mux.HandleFunc(etcdapi.AdminPath(etcdapi.SealBackups), call(h, "backups", h.backups))
	return h
}

// readOnly serves a call that changes nothing and answers at once.
func readOnly(f func(ctx context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			refuse(w, refusal(http.StatusMethodNotAllowed, "this is asked for with GET", ""))
			return
		}
		answer, err := f(r.Context())
		if err != nil {
			refuse(w, asError(err))
			return
		}
		plain(w, http.StatusOK)
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// call serves a call that takes a request and may take long.
func call[Request any](h *Handler, name string, f func(context.Context, Request, *stream) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if e := acceptable(r); e != nil {
			if e.status == http.StatusMethodNotAllowed {
				w.Header().Set("Allow", http.MethodPost)
			}
			refuse(w, e)
			return
		}
		request, err := decode[Request](r.Body)
		if err != nil {
			refuse(w, err)
			return
		}
		select {
		case h.calls <- struct{}{}:
			defer func() { <-h.calls }()
		default:
			refuse(w, refusal(http.StatusServiceUnavailable, "this member has enough calls of the administration under way", "wait for one to end, or ask another member"))
			return
		}
		log := h.Log.With(slog.String("call", name), slog.String("caller", h.Caller(r)))
		log.Info("administration: begun", slog.Any("request", request))
		s := newStream(w, h.Beat)
		ctx := s.context(r.Context())
		defer context.AfterFunc(h.closing, func() { s.cancel(errClosing) })()
		result, failure := f(ctx, request, s)
		if failure != nil {
			log.Warn("administration: failed", slog.Any("error", failure))
		} else {
			log.Info("administration: done")
		}
		s.end(result, failure)
	}
}

// acceptable refuses what a browser sends on behalf of a page: it can't send this
// content type to another origin without asking first, and is never told yes.
func acceptable(r *http.Request) *Error {
	if r.Method != http.MethodPost {
		return refusal(http.StatusMethodNotAllowed, "this is asked for with POST", "")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return refusal(http.StatusUnsupportedMediaType, "the request is not application/json", "")
	}
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return refusal(http.StatusForbidden, "this is not for browsers", "")
	}
	return nil
}

// decode reads a request strictly.
func decode[Request any](body io.Reader) (request Request, _ *Error) {
	data, err := io.ReadAll(io.LimitReader(body, MaxRequest+1))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || len(data) > MaxRequest {
		return request, refusal(http.StatusRequestEntityTooLarge, "the request is too large", "")
	}
	if err != nil {
		return request, refusal(http.StatusBadRequest, "reading the request: "+err.Error(), "")
	}
	if err = checkObject(data); err == nil {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(&request)
	}
	if err != nil {
		return request, refusal(http.StatusBadRequest, "reading the request: "+err.Error(), "")
	}
	return request, nil
}

// checkObject refuses what is no single JSON object with each field once: null would
// be an empty request, and of two fields of one name the last would count.
func checkObject(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if open, err := decoder.Token(); err != nil {
		return err
	} else if open != json.Delim('{') {
		return errors.New("it is no object")
	}
	for seen := map[string]bool{}; decoder.More(); {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		field := strings.ToLower(name.(string)) // encoding/json takes either case
		if seen[field] {
			return fmt.Errorf("the field %q is given twice", field)
		}
		seen[field] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("something follows its end")
	}
	return nil
}

func refusal(status int, message, fix string) *Error {
	return &Error{Message: message, Fix: fix, status: status}
}

// asError words an error of any kind.
func asError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	out := &Error{Message: err.Error(), status: http.StatusInternalServerError}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		out.Fix = hinted.Hint()
	}
	return out
}

func refuse(w http.ResponseWriter, e *Error) {
	plain(w, e.status)
	_ = json.NewEncoder(w).Encode(e)
}

func plain(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}
