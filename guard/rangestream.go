package guard

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/etcdguard/etcdguard/keyring"
)

// rangeStream opens the answer to a KV.RangeStream chunk by chunk. Header, more and
// count come with the last one; they pass.
type rangeStream struct {
	*stream
	keysOnly bool         // nothing needs to be opened
	sorted   *sortedChunk // the guard makes the chunks; nil: etcd does
}

// RecvMsg gives etcd the one request that there is. Etcd changes it as it goes on, so
// what the answer depends on is kept.
func (s *rangeStream) RecvMsg(m any) error {
	if err := s.stream.RecvMsg(m); err != nil {
		return err
	}
	r, ok := m.(*pb.RangeRequest)
	if !ok {
		return nil
	}
	s.keysOnly = r.KeysOnly
	if s.guard.ring.Phase() != keyring.Off && sortsChunks(r) {
		s.sorted = newSortedChunk(s, r)
		s.sorted.ask(r)
	}
	return nil
}

// SendMsg opens the values of a chunk, which etcd made for this answer alone.
func (s *rangeStream) SendMsg(m any) error {
	answer, ok := m.(*pb.RangeStreamResponse)
	if !ok || answer.RangeResponse == nil {
		return s.stream.SendMsg(m)
	}
	if s.sorted != nil {
		s.sorted.take(answer.RangeResponse)
		return nil
	}
	if !s.keysOnly {
		opened, err := s.guard.openChunk(answer)
		if err != nil {
			return err
		}
		m = opened
	}
	return s.stream.SendMsg(m)
}

// continued is etcd's handler, and what is left to do after it: it answers for the
// first chunk where the guard makes them.
func (s *rangeStream) continued(next grpc.StreamHandler) grpc.StreamHandler {
	return func(server any, inner grpc.ServerStream) error {
		err := next(server, inner)
		if err == nil && s.sorted != nil {
			err = s.sorted.run(server, next)
		}
		return err
	}
}
