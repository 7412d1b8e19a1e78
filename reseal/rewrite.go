package reseal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/keyring"
)

// maxRaces is how often one value is tried while clients keep writing it in the old
// form, which only those can do that keep the value and change the lease.
const maxRaces = 20

// rewrite brings one value into the form, at the revision at which it was read. A
// value that another wrote meanwhile is looked at again. Its error is one that
// concerns every other value, too.
func (r *run) rewrite(ctx context.Context, kv *mvccpb.KeyValue) error {
	name := kv.Key
	for range maxRaces {
		now, replaced, err := r.replace(ctx, kv)
		var fault *valueError
		switch {
		case errors.As(err, &fault):
			r.problem(kv, fault.Error())
			return nil
		case err != nil:
			return err
		case replaced:
			r.rewritten.Add(1)
			return nil
		case now == nil || r.Want.has(now.Value):
			r.raced.Add(1) // deleted, or in the right form by now
			return nil
		}
		kv = now
	}
	r.problem(&mvccpb.KeyValue{Key: name, ModRevision: kv.ModRevision}, "is written again and again in the old form")
	return nil
}

// valueError is one value's own fault.
type valueError struct{ error }

// replace does one compare-and-swap. If it was late, now is what is stored, nil where
// the key is gone.
func (r *run) replace(ctx context.Context, kv *mvccpb.KeyValue) (now *mvccpb.KeyValue, replaced bool, err error) {
	value, err := r.Ring.Open(kv.Key, kv.Value)
	if err != nil {
		return nil, false, &valueError{err}
	}
	// What was opened under one view may be sealed under the next: the write has a
	// place among those that a new phase waits for.
	w, err := r.Ring.BeginWrite()
	if err != nil {
		return nil, false, fmt.Errorf("rewriting a value: %w", err)
	}
	defer w.Done()
	stored, err := w.Seal(kv.Key, value)
	if errors.Is(err, keyring.ErrLooksSealed) {
		return nil, false, &valueError{err}
	}
	if err != nil {
		return nil, false, fmt.Errorf("sealing a value: %w", err)
	}
	if !r.Want.has(stored) {
		return nil, false, errDirection
	}
	began := time.Now()
	answer, err := r.swap(ctx, w, kv, stored)
	if err != nil {
		return nil, false, err
	}
	if answer.Succeeded {
		r.pace.took(began, time.Since(began))
		return nil, true, nil
	}
	return first(answer), false, nil
}

// swap puts stored where kv is, if it is still there. The lease is named and not
// "ignored": etcd refuses a lease that is gone, but ends itself over a key that has
// kept one.
func (r *run) swap(ctx context.Context, w keyring.Write, kv *mvccpb.KeyValue, stored []byte) (*pb.TxnResponse, error) {
	request := &pb.TxnRequest{
		Compare: []*pb.Compare{modIs(kv.Key, kv.ModRevision)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: kv.Key, Value: stored, Lease: kv.Lease},
		}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{
			RequestRange: &pb.RangeRequest{Key: kv.Key},
		}}},
	}
	return withPatience(ctx, func() (*pb.TxnResponse, error) {
		answer, err := r.Store.Txn(ctx, request)
		if err != nil {
			w.Lost() // it may be carried out yet
		}
		return answer, err
	})
}

// first is the one key that the failure branch of a swap read, or nil.
func first(answer *pb.TxnResponse) *mvccpb.KeyValue {
	for _, op := range answer.Responses {
		if r := op.GetResponseRange(); r != nil && len(r.Kvs) > 0 {
			return r.Kvs[0]
		}
	}
	return nil
}

// patience is for how long a request is tried again while the cluster has no leader,
// is slow, or turns requests away.
const patience = 30 * time.Second

// withPatience does what may pass by itself again. A request whose fate is unknown is
// safe to repeat: if it was done, its compare fails the next time.
func withPatience(ctx context.Context, do func() (*pb.TxnResponse, error)) (*pb.TxnResponse, error) {
	wait := 50 * time.Millisecond
	for began := time.Now(); ; wait = min(2*wait, 2*time.Second) {
		answer, err := do()
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case says(err, "lease not found"):
			return nil, &valueError{errors.New("hangs on a lease that is gone")}
		case says(err, "request is too large"):
			return nil, &valueError{errors.New("is too large to be stored in the new form; raise --max-request-bytes")}
		case says(err, "space exceeded"):
			return nil, errors.New("the database is full: compact, defragment, disarm the alarm (etcdctl alarm disarm), then run this again; what was rewritten stays")
		case !passing(err) || time.Since(began) > patience:
			return nil, fmt.Errorf("writing a value: %w", err)
		}
		if err := rest(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// passing are etcd's errors that go by: of its server and of its API, which word them
// alike.
func passing(err error) bool {
	for _, words := range []string{"timed out", "too many requests", "leader changed", "no leader", "deadline exceeded"} {
		if says(err, words) {
			return true
		}
	}
	return false
}

func says(err error, words string) bool { return strings.Contains(err.Error(), words) }
