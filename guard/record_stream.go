package guard

import (
	"context"
	"net/http"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/policy"
)

// recordStreamEnd puts on record what became of a stream. RangeStream and Snapshot are
// one request with a long answer; the watches of a stream have events of their own.
func (g *Guard) recordStreamEnd(s *stream, failure error) error {
	r := s.judged.Load()
	if g.audit == nil || r == nil {
		return failure
	}
	r.record.answer.Keys, r.record.answer.Bytes = s.carried.keys.Load(), s.carried.bytes.Load()
	r.record.answer.Revision = s.carried.revision.Load()
	switch s.method.Action {
	case etcdapi.WatchWatch:
		return failure
	case etcdapi.KVRangeStream, etcdapi.MaintenanceSnapshot:
		return g.recordAnswer(s.ctx, r, nil, failure)
	}
	a := &r.record.answer
	a.Code, a.Micros = codeOf(failure), g.now().Sub(r.began).Microseconds()
	if r.record.level != policy.Full {
		g.audit.Count(r.caller.record, r.record.level.String(), r.action, a)
		return failure
	}
	e := &r.record.event
	e.Kind, e.Caller, e.Action, e.Answer = audit.Stream, r.caller.record, r.action, a
	if err := g.audit.Record(context.WithoutCancel(s.ctx), e); err != nil {
		return unrecordable(err)
	}
	return failure
}

// sent counts what the server sends on a stream, for the record.
func (c *carried) sent(m any) {
	switch m := m.(type) {
	case *pb.RangeStreamResponse:
		if r := m.GetRangeResponse(); r != nil {
			c.keys.Add(int64(len(r.Kvs)))
			c.bytes.Add(bytesOf(r.Kvs))
			c.revised(r.Header)
		}
	case *opened:
		c.keys.Add(m.keys)
		c.bytes.Add(m.bytes)
		c.revised(m.header)
	case *pb.SnapshotResponse:
		c.bytes.Add(int64(len(m.Blob)))
		c.revised(m.Header)
	case *pb.LeaseKeepAliveResponse:
		c.keys.Add(1)
		c.revised(m.Header)
	}
}

func (c *carried) revised(h *pb.ResponseHeader) {
	if h.GetRevision() != 0 {
		c.revision.Store(h.Revision)
	}
}

// watchRecord is what the audit log has of a watch from its creation on.
type watchRecord struct {
	caller   *audit.Caller
	decision audit.Decision
	rule     string
	level    policy.Level
	access   [1]audit.Access
}

func newWatchRecord(r *Request, keys etcdapi.Range, create *pb.WatchCreateRequest) watchRecord {
	if r.record == nil {
		return watchRecord{}
	}
	e := &r.record.event
	return watchRecord{r.caller.record, e.Decision, e.Rule, r.record.level,
		[1]audit.Access{{Action: etcdapi.WatchWatch, Keys: keys, Rule: e.Rule, Revision: create.StartRevision, PrevKV: create.PrevKv}}}
}

// recordWatch says that a watch was created or, with an answer, how it ended.
func (g *Guard) recordWatch(w *watch, id int64, reason string, end *audit.Answer) {
	if g.audit == nil {
		return
	}
	if w.record.level != policy.Full && w.record.decision == audit.Allowed {
		if end == nil {
			g.audit.Count(w.record.caller, w.record.level.String(), etcdapi.WatchWatch, &audit.Answer{Code: codes.OK.String()})
		}
		return
	}
	e := audit.Event{Kind: audit.Watch, Caller: w.record.caller, Action: etcdapi.WatchWatch, Access: w.record.access[:],
		Decision: w.record.decision, Rule: w.record.rule, Watch: id, Reason: reason, Answer: end}
	// What can't be written now is kept or counted by the log; the watch itself is
	// under way, and its stream is looked at when a request comes.
	_ = g.audit.Record(context.Background(), &e)
}

// httpAnswer is the status of an HTTP answer in gRPC's words.
func httpAnswer(code int) error {
	switch {
	case code < 400:
		return nil
	case code == http.StatusForbidden:
		return errPermissionDenied
	case code == http.StatusNotFound:
		return status.Error(codes.NotFound, "")
	case code < 500:
		return status.Error(codes.InvalidArgument, "")
	case code == http.StatusServiceUnavailable:
		return status.Error(codes.Unavailable, "")
	}
	return status.Error(codes.Internal, "")
}

// answerWriter remembers the status that a handler answers with.
type answerWriter struct {
	http.ResponseWriter
	code int
}

func (w *answerWriter) WriteHeader(code int) {
	if w.code == 0 || w.code < 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
