package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// FillPuts is how many single writes Fill ends with.
const FillPuts = 20_000

// Fill brings an empty server into the state that every workload starts from:
// the list of 10,000 keys, then 20,000 single writes over 10,000 other keys. The
// amount is fixed, not the time, so memory read after Fill is memory at the same
// data.
func Fill(ctx context.Context, t Target) (err error) {
	s, err := open(t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	if err := fillBatches(ctx, s, ListKeys, listKey); err != nil {
		return fmt.Errorf("filling the list: %w", err)
	}
	if err := fillPuts(ctx, s); err != nil {
		return fmt.Errorf("filling by single writes: %w", err)
	}
	if err := readBack(ctx, s); err != nil {
		return fmt.Errorf("reading back what was filled: %w", err)
	}
	return nil
}

// AtRestKeys are values that no workload touches, at keys that begin with
// AtRestPrefix and end in eight digits.
const (
	AtRestKeys   = 20_000
	AtRestPrefix = "/bench/at-rest/"
)

// FillAtRest writes the values that no workload touches.
func FillAtRest(ctx context.Context, t Target) (err error) {
	s, err := open(t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := fillBatches(ctx, s, AtRestKeys, atRestKey); err != nil {
		return fmt.Errorf("filling what no workload touches: %w", err)
	}
	return nil
}

// fillBatches writes n keys in batches, below etcd's default of 128 operations and
// 1.5 MiB a transaction.
func fillBatches(ctx context.Context, s *session, n int, key func(int) []byte) error {
	const batch = 100
	var answer summary
	for first := 0; first < n; first += batch {
		txn := &pb.TxnRequest{}
		for i := first; i < first+batch; i++ {
			put := &pb.PutRequest{Key: key(i), Value: value(i)}
			txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
		}
		if err := call(ctx, s.conn(first/batch), pb.KV_Txn_FullMethodName, encode(txn), &answer); err != nil {
			return err
		}
	}
	return nil
}

func fillPuts(ctx context.Context, s *session) error {
	requests := putRequests()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var clients sync.WaitGroup
	for c := range Clients {
		clients.Go(func() {
			var answer summary
			for i := c; i < FillPuts; i += Clients {
				if err := call(ctx, s.conn(c), pb.KV_Put_FullMethodName, requests[i%len(requests)], &answer); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	clients.Wait()
	return context.Cause(ctx)
}

// readBack is the positive control of the whole benchmark: a server that stored
// something else, or hands out something else, is not measured.
func readBack(ctx context.Context, s *session) error {
	kv := pb.NewKVClient(s.conn(0))
	for range 50 {
		i := rand.IntN(ListKeys)
		got, err := kv.Range(ctx, &pb.RangeRequest{Key: listKey(i)})
		if err != nil {
			return err
		}
		if len(got.Kvs) != 1 || !bytes.Equal(got.Kvs[0].Value, value(i)) {
			return fmt.Errorf("key %s does not hold the value that was written", listKey(i))
		}
	}
	all, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("/bench/"), RangeEnd: []byte("/bench0"), CountOnly: true})
	if err != nil {
		return err
	}
	if all.Count != 2*ListKeys {
		return fmt.Errorf("%d keys are stored, want %d", all.Count, 2*ListKeys)
	}
	return nil
}
