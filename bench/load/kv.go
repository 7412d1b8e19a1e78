package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

func putSteps(s *session) []step {
	requests := putRequests()
	return eachClient(func(c int, random *rand.Rand) step {
		conn := s.conn(c)
		var answer summary
		return func(ctx context.Context) error {
			return call(ctx, conn, pb.KV_Put_FullMethodName, requests[random.IntN(len(requests))], &answer)
		}
	})
}

func getSteps(s *session) []step {
	requests := make([]request, ListKeys)
	for i := range requests {
		requests[i] = encode(&pb.RangeRequest{Key: listKey(i)})
	}
	return eachClient(func(c int, random *rand.Rand) step {
		conn := s.conn(c)
		var answer summary
		return func(ctx context.Context) error {
			return readKeys(ctx, conn, requests[random.IntN(len(requests))], 1, &answer)
		}
	})
}

// rangeSteps reads n keys that lie side by side, from so many clients.
func rangeSteps(n, clients int) func(s *session) []step {
	return func(s *session) []step {
		var requests []request
		for first := 0; first < ListKeys; first += n {
			requests = append(requests, listRange(first, n))
		}
		return eachClient(func(c int, random *rand.Rand) step {
			conn := s.conn(c)
			var answer summary
			return func(ctx context.Context) error {
				return readKeys(ctx, conn, requests[random.IntN(len(requests))], n, &answer)
			}
		})[:clients]
	}
}

// streamSteps reads the whole list as kube-apiserver does, in chunks that the
// server sends as it reads them.
func streamSteps(s *session) []step {
	all := listRange(0, ListKeys)
	desc := &grpc.StreamDesc{ServerStreams: true}
	return eachClient(func(c int, _ *rand.Rand) step {
		conn := s.conn(c)
		return func(ctx context.Context) error {
			stream, err := conn.NewStream(ctx, desc, pb.KV_RangeStream_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
			if err != nil {
				return fmt.Errorf("opening a streamed range: %w", err)
			}
			if err := stream.SendMsg(all); err != nil {
				return fmt.Errorf("asking for a streamed range: %w", err)
			}
			if err := stream.CloseSend(); err != nil {
				return fmt.Errorf("asking for a streamed range: %w", err)
			}
			var part chunk
			kvs, size := 0, 0
			for {
				err := stream.RecvMsg(&part)
				if errors.Is(err, io.EOF) {
					return checkKeys(kvs, size, ListKeys)
				}
				if err != nil {
					return fmt.Errorf("reading a streamed range: %w", err)
				}
				kvs, size = kvs+part.kvs, size+part.size
			}
		}
	})[:listClients]
}

// txnSteps is what kube-apiserver does most of the time: guarded updates of
// objects whose revision it knows, some of which lose, and reads in between.
// Every client updates keys of its own, so a guard fails only where it is meant
// to.
func txnSteps(s *session) []step {
	const keysPerClient = 16
	const pageSize = 100
	gets := make([]request, ListKeys)
	for i := range gets {
		gets[i] = encode(&pb.RangeRequest{Key: listKey(i)})
	}
	var pages []request
	for first := 0; first < ListKeys; first += pageSize {
		pages = append(pages, encode(&pb.RangeRequest{Key: listKey(first), RangeEnd: listKey(ListKeys), Limit: pageSize}))
	}
	return eachClient(func(c int, random *rand.Rand) step {
		conn := s.conn(c)
		var revisions [keysPerClient]int64 // 0: the key does not exist yet
		var answer summary
		turn := random.IntN(10) // so that the clients are not in lockstep
		return func(ctx context.Context) error {
			turn++
			switch turn % 10 {
			case 0:
				return readKeys(ctx, conn, gets[random.IntN(len(gets))], 1, &answer)
			case 5:
				return readKeys(ctx, conn, pages[random.IntN(len(pages))], pageSize, &answer)
			}
			i := random.IntN(keysPerClient)
			known, conflict := revisions[i], random.IntN(16) == 0
			if conflict {
				known = 1 // revision 1 is the empty store's: no key ever has it
			}
			update := encode(guardedUpdate(txnKey(c, i), known, value(turn)))
			if err := call(ctx, conn, pb.KV_Txn_FullMethodName, update, &answer); err != nil {
				return err
			}
			if answer.succeeded == conflict {
				return fmt.Errorf("guarded update of a key at revision %d: succeeded is %v", known, answer.succeeded)
			}
			if answer.succeeded {
				revisions[i] = answer.revision
			}
			return nil
		}
	})
}

func guardedUpdate(key []byte, known int64, val []byte) *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: known},
		}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: val}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	}
}

// readKeys holds the answer against what is stored: n keys with their values.
func readKeys(ctx context.Context, conn *grpc.ClientConn, req request, n int, answer *summary) error {
	if err := call(ctx, conn, pb.KV_Range_FullMethodName, req, answer); err != nil {
		return err
	}
	return checkKeys(answer.kvs, answer.size, n)
}

func checkKeys(kvs, size, n int) error {
	if kvs != n || size < n*ValueSize {
		return fmt.Errorf("range: %d keys in %d bytes came back, want %d keys with values of %d bytes", kvs, size, n, ValueSize)
	}
	return nil
}

// eachClient makes the clients, each with random numbers of its own that are
// the same in every run.
func eachClient(newStep func(c int, random *rand.Rand) step) []step {
	steps := []step{}
	for c := range Clients {
		steps = append(steps, newStep(c, rand.New(rand.NewPCG(uint64(c), 0))))
	}
	return steps
}
