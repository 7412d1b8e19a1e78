package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"go.etcd.io/etcd/api/v3/mvccpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/seal"
)

// serve has etcd answer a request that the stages let through: with sealed values
// on the way in, and opened ones on the way out.
func (g *Guard) serve(ctx context.Context, r *Request, next grpc.UnaryHandler) (any, error) {
	if g.ring == nil || g.overLimits(ctx, r.message) {
		return next(ctx, r.message)
	}
	switch m := r.message.(type) {
	case *pb.RangeRequest:
		return g.serveRange(ctx, m, next)
	case *pb.PutRequest:
		return g.servePut(ctx, m, next)
	case *pb.DeleteRangeRequest:
		return g.serveDelete(ctx, m, next)
	case *pb.TxnRequest:
		return g.serveTxn(ctx, m, next)
	case *pb.LeaseLeasesRequest:
		return g.serveLeases(ctx, m, next)
	}
	return next(ctx, r.message)
}

func (g *Guard) serveRange(ctx context.Context, m *pb.RangeRequest, next grpc.UnaryHandler) (any, error) {
	if g.sortedHere(m) {
		return g.serveSorted(ctx, m, next)
	}
	answer, err := next(ctx, m)
	if a, ok := answer.(*pb.RangeResponse); ok && err == nil && !m.KeysOnly {
		return g.openRange(a)
	}
	return answer, err
}

func (g *Guard) servePut(ctx context.Context, m *pb.PutRequest, next grpc.UnaryHandler) (any, error) {
	w, err := g.beginWrite()
	if err != nil {
		return nil, err
	}
	if err := g.sealPut(w, m); err != nil {
		w.Done()
		return nil, err
	}
	answer, err := next(ctx, m)
	endWrite(w, err)
	if a, ok := answer.(*pb.PutResponse); ok && err == nil && a.PrevKv != nil {
		err = carriedOut(g.openAll([]*mvccpb.KeyValue{a.PrevKv}))
	}
	return answer, err
}

// serveDelete deletes. Nothing is sealed for that, but a member that can't confirm its
// phase refuses every write.
func (g *Guard) serveDelete(ctx context.Context, m *pb.DeleteRangeRequest, next grpc.UnaryHandler) (any, error) {
	w, err := g.beginWrite()
	if err != nil {
		return nil, err
	}
	answer, err := next(ctx, m)
	endWrite(w, err)
	if a, ok := answer.(*pb.DeleteRangeResponse); ok && err == nil {
		err = carriedOut(g.openAll(a.PrevKvs))
	}
	return answer, err
}

func (g *Guard) beginWrite() (keyring.Write, error) {
	w, err := g.ring.BeginWrite()
	if err != nil {
		return w, unavailable("this member may not write: " + err.Error())
	}
	return w, nil
}

// endWrite gives a write's place back, and says if etcd gave no answer to it.
func endWrite(w keyring.Write, err error) {
	if err != nil {
		w.Lost()
	}
	w.Done()
}

// sealPut seals the value of a put, in place: the message is this request's own.
// With ignore_value the stored ciphertext stays; a value beside it is etcd's error.
func (g *Guard) sealPut(w keyring.Write, m *pb.PutRequest) error {
	if m.IgnoreValue || len(m.Key) == 0 {
		return nil
	}
	sealed, err := w.Seal(m.Key, m.Value)
	if errors.Is(err, keyring.ErrLooksSealed) {
		return status.Errorf(codes.InvalidArgument, "etcdguard: the value %v", err)
	}
	if err != nil {
		return unavailable(err.Error())
	}
	if len(sealed) != len(m.Value) {
		g.metrics.sealed.Inc()
	}
	m.Value = sealed
	return nil
}

// openAll opens the values of one answer in place: etcd decodes them anew for each
// answer, so nobody else sees them (server/storage/mvcc/kvstore_txn.go, rangeKeys).
// The bytes stay as they are, since a put with ignore_value shares them with watchers.
func (g *Guard) openAll(kvs []*mvccpb.KeyValue) error {
	opened := 0
	defer func() { g.metrics.countOpened(opened) }()
	for _, kv := range kvs {
		value, err := g.ring.Open(kv.Key, kv.Value)
		if err != nil {
			return g.unreadable(kv, err)
		}
		if len(value) != len(kv.Value) { // it was sealed
			opened++
		}
		kv.Value = value
	}
	return nil
}

// unreadable is the answer to a request that needs a value which does not open.
func (g *Guard) unreadable(kv *mvccpb.KeyValue, why error) error {
	g.metrics.unreadable.WithLabelValues(reasonOf(why)).Inc()
	name := etcdapi.Key(kv.Key).String()
	if g.unreadables.Allow() {
		g.log.Error("a stored value does not open", slog.String("key", name),
			slog.Int64("mod-revision", kv.ModRevision), slog.String("reason", why.Error()))
	}
	return status.Error(codes.DataLoss, fmt.Sprintf(
		"etcdguard: the value of key %s (mod revision %d) %v; an operator can see and quarantine it: etcdguard seal quarantine --help",
		name, kv.ModRevision, why))
}

// carriedOut says of what went wrong with the answer to a write that the write itself
// did not.
func carriedOut(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(status.Code(err), status.Convert(err).Message()+"; the write itself was carried out")
}

// reasons why values do not open, by the words that they are counted under.
var reasons = []struct {
	why  error
	word string
}{
	{keyring.ErrPlaintext, "plaintext"}, {seal.ErrVersion, "version"}, {seal.ErrTruncated, "truncated"},
	{seal.ErrForeignRing, "foreign ring"}, {seal.ErrUnknownKey, "unknown key"}, {seal.ErrAltered, "altered"},
	{seal.ErrMoved, "moved"}, {keyring.ErrNoRing, "no ring"},
}

func reasonOf(err error) string {
	for _, r := range reasons {
		if errors.Is(err, r.why) {
			return r.word
		}
	}
	return "other"
}
