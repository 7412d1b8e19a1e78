package guard

import (
	"bytes"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/etcdapi"
)

// sortsChunks reports whether etcd would order the chunks of a stream, each for itself.
// It refuses orders, but overlooks one without a direction (v3rpc/key.go,
// checkRangeStreamRequest).
func sortsChunks(r *pb.RangeRequest) bool {
	_, known := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]
	filters := r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
	return known && r.SortTarget != pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_NONE &&
		!r.CountOnly && !filters && len(r.Key) > 0
}

// sortedChunk makes the chunks of such a stream as etcd does (etcdserver/v3_server.go,
// rangeStream), since they depend on what the values are and on how long they are:
// which keys a chunk has, and where the next begins. It asks etcd for each chunk by a
// stream of its own.
type sortedChunk struct {
	*rangeStream
	asked *pb.RangeRequest
	total int64 // of keys that the client wants
	sent  int64
	pin   int64 // the revision of the whole stream
	begin []byte
	limit int64 // keys of this chunk

	counting bool
	got      []*mvccpb.KeyValue
	last     *pb.RangeResponse // what came with the end of the chunk
}

// firstChunk is how many keys etcd's first chunk has (initialStreamChunkLimit).
const firstChunk = 10

func newSortedChunk(s *rangeStream, r *pb.RangeRequest) *sortedChunk {
	c := &sortedChunk{rangeStream: s, asked: proto.CloneOf(r), begin: r.Key, total: r.Limit}
	if c.total == 0 {
		c.total = math.MaxInt64
	}
	c.limit = min(firstChunk, c.total)
	return c
}

// ask makes r the request for the chunk that is due: one key more than it will have, as
// etcd reads them.
func (c *sortedChunk) ask(r *pb.RangeRequest) {
	proto.Reset(r)
	r.Key, r.RangeEnd, r.Revision = c.begin, c.asked.RangeEnd, c.asked.Revision
	r.Serializable = c.asked.Serializable
	if c.pin != 0 {
		r.Revision, r.Serializable = c.pin, true
	}
	r.CountOnly = c.counting
	r.KeysOnly = c.asked.KeysOnly && c.asked.SortTarget != pb.RangeRequest_VALUE
	if c.limit > 0 {
		r.Limit = c.limit + 1
	}
	c.got, c.last = nil, nil
}

func (c *sortedChunk) take(part *pb.RangeResponse) {
	c.got = append(c.got, part.Kvs...)
	if part.Header != nil {
		c.last = part
	}
}

// RecvMsg is what etcd reads on the streams that the guard makes.
func (c *sortedChunk) RecvMsg(m any) error {
	r, ok := m.(*pb.RangeRequest)
	if !ok {
		return status.Error(codes.Internal, "etcdguard: a stream reads something else than its request")
	}
	c.ask(r)
	return nil
}

// fetch has etcd answer for the chunk that is due.
func (c *sortedChunk) fetch(server any, next grpc.StreamHandler) error {
	if err := next(server, c); err != nil {
		return err
	}
	return c.answered()
}

func (c *sortedChunk) answered() error {
	if c.last == nil {
		return status.Error(codes.Internal, "etcdguard: a stream ended without a header")
	}
	return nil
}

// run sends chunk after chunk; etcd has answered for the first.
func (c *sortedChunk) run(server any, next grpc.StreamHandler) error {
	if err := c.answered(); err != nil {
		return err
	}
	header := c.last.Header
	if c.pin = c.asked.Revision; c.pin == 0 {
		c.pin = header.Revision
	}
	for {
		chunk, size, err := c.sort()
		if err != nil {
			return err
		}
		c.sent += int64(len(chunk.Kvs))
		after := []byte(nil)
		if chunk.More {
			after = append(bytes.Clone(chunk.Kvs[len(chunk.Kvs)-1].Key), 0)
		}
		out := &pb.RangeResponse{Kvs: chunk.Kvs}
		done := !chunk.More || c.sent == c.total
		if done {
			out.Header, out.More, out.Count = header, chunk.More, c.sent
		}
		if done && chunk.More {
			c.begin, c.counting = after, true
			if err := c.fetch(server, next); err != nil {
				return err
			}
			out.Count += c.last.Count
		}
		if err := c.stream.SendMsg(&pb.RangeStreamResponse{RangeResponse: out}); err != nil || done {
			return err
		}
		c.begin, c.limit = after, min(c.nextLimit(size), c.total-c.sent)
		if err := c.fetch(server, next); err != nil {
			return err
		}
	}
}

// sort makes the chunk of what etcd had for it, and says how long it is as a response
// in plaintext.
func (c *sortedChunk) sort() (chunk *pb.RangeResponse, size int, err error) {
	byValue := c.asked.SortTarget == pb.RangeRequest_VALUE
	if byValue || !c.asked.KeysOnly {
		if err := c.guard.openAll(c.got); err != nil {
			return nil, 0, err
		}
	}
	chunk = &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: c.last.Header.Revision}, Kvs: c.got, Count: int64(len(c.got))}
	etcdapi.SortKVs(&pb.RangeRequest{SortTarget: c.asked.SortTarget, Limit: c.limit, KeysOnly: c.asked.KeysOnly}, chunk)
	return chunk, proto.Size(chunk), nil
}

// nextLimit is how many keys the chunk after one of this size has (adjustChunkLimit).
func (c *sortedChunk) nextLimit(size int) int64 {
	target := c.guard.limits.RequestBytes
	if target == 0 {
		target = 1.5 * 1024 * 1024 // etcd's default
	}
	switch {
	case size < target/2:
		return c.limit * 2
	case size > target*2:
		return max(1, c.limit/2)
	}
	return c.limit
}
