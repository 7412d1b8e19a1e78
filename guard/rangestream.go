package guard

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// rangeStream opens the answer to a KV.RangeStream chunk by chunk. Header, more and
// count come with the last one; they pass.
type rangeStream struct {
	*stream
	keysOnly bool             // nothing needs to be opened
	sorted   *pb.RangeRequest // by VALUE, as the client asked; nil: not
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
	// Only an order without a direction gets so far: etcd refuses the others. It sorts
	// each chunk for itself.
	if s.guard.ring.Phase() != keyring.Off && etcdapi.SortsByValue(r) && r.SortOrder == pb.RangeRequest_NONE {
		s.sorted = &pb.RangeRequest{SortTarget: r.SortTarget, KeysOnly: r.KeysOnly}
		r.SortTarget, r.KeysOnly = pb.RangeRequest_KEY, false
	}
	return nil
}

// SendMsg opens the values of a chunk, which etcd made for this answer alone.
func (s *rangeStream) SendMsg(m any) error {
	answer, ok := m.(*pb.RangeStreamResponse)
	if ok && answer.RangeResponse != nil && (!s.keysOnly || s.sorted != nil) {
		if err := s.guard.openAll(answer.RangeResponse.Kvs); err != nil {
			return err
		}
		if s.sorted != nil {
			more := answer.RangeResponse.More
			etcdapi.SortByValue(s.sorted, answer.RangeResponse)
			answer.RangeResponse.More = more
		}
	}
	return s.stream.SendMsg(m)
}
