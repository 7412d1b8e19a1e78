package codec

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec is gRPC's codec of a server; the zero value works.
type Codec struct {
	// Sent is told the size of every message that was encoded, Received of every one
	// that is to be decoded, in bytes. They may be nil.
	Sent, Received func(bytes int)
}

var _ encoding.CodecV2 = Codec{}

// protobuf is what encodes and decodes all that this package has no better way for.
var protobuf = encoding.GetCodecV2(grpcproto.Name)

// Name implements encoding.CodecV2.
func (c Codec) Name() string { return grpcproto.Name }

// Marshal implements encoding.CodecV2. What it returns refers to the values in v.
func (c Codec) Marshal(v any) (data mem.BufferSlice, err error) {
	switch m := v.(type) {
	case *Message:
		data = m.data
	case *pb.RangeResponse:
		data = rangeResponse(m)
	case *pb.RangeStreamResponse:
		data = rangeStreamResponse(m)
	default:
		if data, err = protobuf.Marshal(v); err != nil {
			return nil, fmt.Errorf("encoding %T: %w", v, err)
		}
	}
	if c.Sent != nil {
		c.Sent(data.Len())
	}
	return data, nil
}

// Unmarshal implements encoding.CodecV2.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	if c.Received != nil {
		c.Received(data.Len())
	}
	return protobuf.Unmarshal(data, v)
}
