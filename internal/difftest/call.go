package difftest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// request is one call, in A's terms.
type request struct {
	rpc  string          // a name of methods, or empty when path is not of the API
	path string          // the gRPC method of a call outside the API
	msgs []proto.Message // one, or what goes into a bidirectional stream
	as   identityRef     // whose token goes with it
	md   []string        // further metadata, key and value in turn
}

// answer is all that came back.
type answer struct {
	msgs []proto.Message
	err  *status.Status
}

// identityRef names the token that a request carries: none, a user's newest, or
// one that nobody was given.
type identityRef string

const (
	nobody   identityRef = ""
	forged   identityRef = "\x00forged"
	rootUser             = "root"
)

// call sends one request and reads the answer to its end.
func call(ctx context.Context, conn *grpc.ClientConn, q request, msgs []proto.Message) answer {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, q.md...)
	if q.rpc == "" {
		return answer{err: status.Convert(conn.Invoke(ctx, q.path, msgs[0], new(emptypb.Empty)))}
	}
	m := methods[q.rpc]
	if !m.desc.IsStreamingServer() && !m.desc.IsStreamingClient() {
		resp := newMessage(m.desc.Output())
		if err := conn.Invoke(ctx, m.path, msgs[0], resp); err != nil {
			return answer{err: status.Convert(err)}
		}
		return answer{msgs: []proto.Message{resp}}
	}
	out, err := stream(ctx, conn, m, msgs)
	ans := answer{msgs: out}
	if err != nil {
		ans.err = status.Convert(err)
	}
	if q.rpc == "Maintenance.Snapshot" && err == nil {
		ans.msgs = []proto.Message{snapshot(out)}
	}
	return ans
}

// stream sends the messages, then reads to the end; of a stream that never ends
// by itself it reads the first message.
func stream(ctx context.Context, conn *grpc.ClientConn, m rpc, msgs []proto.Message) ([]proto.Message, error) {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, m.path)
	if err != nil {
		return nil, err
	}
	for _, msg := range msgs {
		// io.EOF means that the server has answered already; RecvMsg says what.
		if err := s.SendMsg(msg); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	var out []proto.Message
	for {
		resp := newMessage(m.desc.Output())
		err := s.RecvMsg(resp)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, resp)
		if m.name == "Health.Watch" {
			return out, nil
		}
	}
}

// snapshot reduces a snapshot, whose bytes are each etcd's own, to what must be
// equal: its version, and whether it is whole by its own count and its own digest.
func snapshot(msgs []proto.Message) proto.Message {
	verdict := "broken"
	version := ""
	digest := sha256.New()
	for i, m := range msgs {
		m := m.(*pb.SnapshotResponse)
		version = m.Version
		if i == len(msgs)-1 {
			if i > 0 && m.RemainingBytes == 0 && bytes.Equal(m.Blob, digest.Sum(nil)) {
				verdict = "whole"
			}
			break
		}
		digest.Write(m.Blob)
		next := msgs[i+1].(*pb.SnapshotResponse)
		if i+1 < len(msgs)-1 && m.RemainingBytes-uint64(len(next.Blob)) != next.RemainingBytes {
			break
		}
	}
	return &pb.SnapshotResponse{Version: version + ", " + verdict}
}
