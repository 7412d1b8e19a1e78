package difftest

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// compareAnswers requires the same messages in the same order, and the same
// status: code, text and details.
func (r *run) compareAnswers(q request, a, b answer) {
	if a.err.Code() != b.err.Code() || a.err.Message() != b.err.Message() || !proto.Equal(a.err.Proto(), b.err.Proto()) {
		r.differ(fmt.Sprintf("status\n  request: %s\n    %s: %s\n    %s: %s", showRequest(q),
			r.name[sideA], showAnswer(a), r.name[sideB], showAnswer(b)))
	}
	if q.rpc == "KV.RangeStream" && (r.opt.Sealed || r.names.revs.lead() != 0) {
		// Chunks are cut by size; sealed values are longer, and so may revisions be.
		a.msgs, b.msgs = joinChunks(a.msgs), joinChunks(b.msgs)
	}
	if len(a.msgs) != len(b.msgs) {
		r.differ(fmt.Sprintf("number of messages\n  request: %s\n    %s: %s\n    %s: %s", showRequest(q),
			r.name[sideA], showAnswer(a), r.name[sideB], showAnswer(b)))
	}
	for i := range a.msgs {
		r.compareMessages(showRequest(q), a.msgs[i], b.msgs[i])
	}
}

// compareMessages brings two messages into the common form and requires them to
// be equal. Both are changed.
func (r *run) compareMessages(where string, a, b proto.Message) {
	rawA, rawB := proto.Clone(a), proto.Clone(b)
	r.names.normalise(sideA, a)
	r.names.normalise(sideB, b)
	if la, ok := a.(*pb.LeaseTimeToLiveResponse); ok {
		if lb, ok := b.(*pb.LeaseTimeToLiveResponse); ok {
			nearTTL(la, lb)
		}
	}
	if la, ok := a.(*pb.LeaseLeasesResponse); ok {
		if lb, ok := b.(*pb.LeaseLeasesResponse); ok {
			r.dropFleeting(la)
			r.dropFleeting(lb)
		}
	}
	if !proto.Equal(a, b) {
		r.differ(fmt.Sprintf("%s\n    %s, normalised: %s\n    %s, normalised: %s\n    as sent by %s: %s\n    as sent by %s: %s", where,
			r.name[sideA], show(a), r.name[sideB], show(b), r.name[sideA], show(rawA), r.name[sideB], show(rawB)))
	}
}

// nearTTL forgives a difference in a remaining time to live that the clock makes:
// both run, from the same grant, and neither was ever near its end.
func nearTTL(a, b *pb.LeaseTimeToLiveResponse) {
	const near = 60
	if a.TTL > 0 && b.TTL > 0 && max(a.TTL, b.TTL)-min(a.TTL, b.TTL) <= near {
		b.TTL = a.TTL
	}
}

// dropFleeting leaves out the leases of a second or two, which end on their own.
func (r *run) dropFleeting(l *pb.LeaseLeasesResponse) {
	kept := l.Leases[:0]
	for _, s := range l.Leases {
		if !isFleeting(s.ID) {
			kept = append(kept, s)
		}
	}
	l.Leases = kept
}

// joinChunks makes one message of a stream, and keeps which of its parts came
// last and nowhere else: header, more and count.
func joinChunks(msgs []proto.Message) []proto.Message {
	if len(msgs) == 0 {
		return msgs
	}
	whole := &pb.RangeResponse{}
	for i, m := range msgs {
		part := m.(*pb.RangeStreamResponse).GetRangeResponse()
		whole.Kvs = append(whole.Kvs, part.GetKvs()...)
		if i == len(msgs)-1 {
			whole.Header, whole.More, whole.Count = part.GetHeader(), part.GetMore(), part.GetCount()
		} else if part.GetHeader() != nil || part.GetMore() || part.GetCount() != 0 {
			whole.Count = -1 // a chunk in the middle must carry none of them
		}
	}
	return []proto.Message{&pb.RangeStreamResponse{RangeResponse: whole}}
}
