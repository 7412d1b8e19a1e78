package reseal

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// Store is what is stored, as it is stored: sealed values come sealed.
type Store interface {
	Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
}

// Prefix is the range of the client keys that begin so; "" is all of them.
func Prefix(prefix string) etcdapi.Range {
	if prefix == "" {
		return etcdapi.Range{Kind: etcdapi.Tail, Begin: etcdapi.FirstClientKey}
	}
	begin := []byte(prefix)
	for i := len(begin) - 1; i >= 0; i-- {
		if begin[i] < 0xff {
			end := append([]byte(nil), begin[:i+1]...)
			end[i]++
			return etcdapi.Range{Kind: etcdapi.Span, Begin: begin, End: end}
		}
	}
	return etcdapi.Range{Kind: etcdapi.Tail, Begin: begin}
}

const (
	// stride is how many keys one look at the index covers. etcd counts the rest of
	// a range for each page of it, so pages of a whole range cost the square of it.
	stride = 2000
	// A page begins with leastPage values and has up to mostPage where they are small:
	// where less than smallPage bytes came. 32 of the largest are 48 MiB.
	leastPage = 32
	mostPage  = 128
	smallPage = 256 << 10
	// restFactor is for how many times as long as a page took the walk rests after
	// it, so that it takes a tenth of one processor and not all of it. On a machine
	// that is busy a page takes long because it waits: longestRest is enough then.
	restFactor  = 9
	longestRest = 20 * time.Millisecond
)

// walk calls page with all keys and values of a range, by key, a page at a time. What
// is written meanwhile is seen or not; what was there when it began, and was not
// changed, is seen. The pages are read from this member once it has caught up with
// the cluster. It returns the revisions between which it read.
func walk(ctx context.Context, s Store, r etcdapi.Range, page func([]*mvccpb.KeyValue) error) (from, to int64, err error) {
	end := r.End
	if r.Kind == etcdapi.Tail {
		end = []byte{0}
	}
	// Once linearizable: whatever was committed before the walk began is here now.
	caughtUp, err := s.Range(ctx, &pb.RangeRequest{Key: r.Begin, CountOnly: true})
	if err != nil {
		return 0, 0, fmt.Errorf("catching up with the cluster: %w", err)
	}
	from = caughtUp.Header.Revision
	to = from
	for at := r.Begin; at != nil; {
		keys, err := s.Range(ctx, &pb.RangeRequest{Key: at, RangeEnd: end, Limit: stride, KeysOnly: true, Serializable: true})
		if err != nil {
			return from, to, fmt.Errorf("reading the names of keys: %w", err)
		}
		stop, next := end, []byte(nil)
		if keys.More && len(keys.Kvs) > 0 {
			next = after(keys.Kvs[len(keys.Kvs)-1].Key)
			stop = next
		}
		if to, err = walkStride(ctx, s, at, stop, page); err != nil {
			return from, to, err
		}
		at = next
	}
	return from, to, nil
}

func walkStride(ctx context.Context, s Store, at, stop []byte, page func([]*mvccpb.KeyValue) error) (to int64, err error) {
	for limit := int64(leastPage); ; {
		began := time.Now()
		r, err := s.Range(ctx, &pb.RangeRequest{Key: at, RangeEnd: stop, Limit: limit, Serializable: true})
		if err != nil {
			return to, fmt.Errorf("reading values: %w", err)
		}
		to = r.Header.Revision
		took := time.Since(began)
		if len(r.Kvs) > 0 {
			if err := page(r.Kvs); err != nil {
				return to, err
			}
		}
		if !r.More || len(r.Kvs) == 0 {
			return to, ctx.Err()
		}
		if err := rest(ctx, min(restFactor*took, longestRest)); err != nil {
			return to, err
		}
		limit = nextLimit(limit, r.Kvs)
		at = after(r.Kvs[len(r.Kvs)-1].Key)
	}
}

// nextLimit doubles a limit while values are small, and else begins anew.
func nextLimit(limit int64, kvs []*mvccpb.KeyValue) int64 {
	size := 0
	for _, kv := range kvs {
		size += len(kv.Value)
	}
	if size >= smallPage {
		return leastPage
	}
	return min(2*limit, mostPage)
}

// after is the first key that is higher than key.
func after(key []byte) []byte { return append(append([]byte(nil), key...), 0) }

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
