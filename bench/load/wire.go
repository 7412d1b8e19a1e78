package load

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// request is a protobuf message that is already encoded. It must not change
// until the call that sends it has returned.
type request []byte

// response reads an encoded message that is gone when read returns.
type response interface {
	read(data mem.BufferSlice) error
}

// rawCodec hands bytes through. It calls itself "proto", so a server sees the
// content type that every etcd client sends.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(request)
	if !ok {
		return nil, fmt.Errorf("encoding a request: %T is not encoded", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(r)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(response)
	if !ok {
		return fmt.Errorf("decoding a response: %T cannot read one", v)
	}
	return r.read(data)
}

// Field numbers of etcd's rpc.proto and kv.proto that the scanner looks for.
// TestFieldNumbersMatchDescriptors holds them against the real descriptors.
const (
	headerField   = 1 // of every response
	revisionField = 3 // ResponseHeader.revision

	rangeKvsField     = 2  // RangeResponse.kvs
	chunkRangeField   = 1  // RangeStreamResponse.range_response
	txnSucceededField = 2  // TxnResponse.succeeded
	watchCreatedField = 3  // WatchResponse.created
	watchCancelField  = 4  // WatchResponse.canceled
	watchReasonField  = 6  // WatchResponse.cancel_reason
	watchEventsField  = 11 // WatchResponse.events
	eventKvField      = 2  // Event.kv
	kvKeyField        = 1  // KeyValue.key
)

// summary is what the load needs to know of a Range, Put or Txn response.
type summary struct {
	size      int
	revision  int64
	kvs       int
	succeeded bool
}

// read counts without copying: a list of 10,000 keys arrives in some 650
// buffers, and joining them would cost the client as much as the list costs
// the server.
func (s *summary) read(data mem.BufferSlice) error {
	r := data.Reader()
	defer r.Close()
	return s.scan(r)
}

func (s *summary) scan(r *mem.Reader) error {
	*s = summary{size: r.Remaining()}
	for r.Remaining() > 0 {
		num, typ, v, err := nextField(r)
		if err != nil {
			return err
		}
		switch {
		case num == headerField && typ == protowire.BytesType:
			buf := make([]byte, v)
			if _, err := io.ReadFull(r, buf); err != nil {
				return fmt.Errorf("reading a response header: %w", err)
			}
			if s.revision, err = headerRevision(buf); err != nil {
				return err
			}
			continue
		case num == rangeKvsField && typ == protowire.BytesType:
			s.kvs++
		case num == txnSucceededField && typ == protowire.VarintType:
			s.succeeded = v != 0
		}
		if typ == protowire.BytesType {
			if _, err := r.Discard(int(v)); err != nil {
				return fmt.Errorf("reading field %d of a response: %w", num, err)
			}
		}
	}
	return nil
}

// chunk is one RangeStreamResponse: a summary inside an envelope.
type chunk struct{ summary }

func (c *chunk) read(data mem.BufferSlice) error {
	r := data.Reader()
	defer r.Close()
	num, typ, v, err := nextField(r)
	if err != nil {
		return err
	}
	if num != chunkRangeField || typ != protowire.BytesType || v != uint64(r.Remaining()) {
		return errors.New("reading a chunk of a streamed range: it holds more than a RangeResponse")
	}
	return c.scan(r)
}

// nextField reads one tag and, for a varint, its value; for a length-delimited
// field, v is the length and the content is still to be read.
func nextField(r io.ByteReader) (num protowire.Number, typ protowire.Type, v uint64, err error) {
	tag, err := readVarint(r)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("reading a response: %w", err)
	}
	num, typ = protowire.DecodeTag(tag)
	if typ != protowire.VarintType && typ != protowire.BytesType {
		return 0, 0, 0, fmt.Errorf("reading a response: field %d has wire type %d, which etcd's messages do not use", num, typ)
	}
	if v, err = readVarint(r); err != nil {
		return 0, 0, 0, fmt.Errorf("reading field %d of a response: %w", num, err)
	}
	return num, typ, v, nil
}

func readVarint(r io.ByteReader) (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errors.New("number of more than 64 bits")
}

func headerRevision(header []byte) (int64, error) {
	var rev int64
	err := eachField(header, func(num protowire.Number, v uint64, _ []byte) {
		if num == revisionField {
			rev = int64(v)
		}
	})
	return rev, err
}

// eachField walks a message that lies in one piece. For a varint v is set, for
// a length-delimited field b is.
func eachField(msg []byte, visit func(num protowire.Number, v uint64, b []byte)) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return fmt.Errorf("reading a message: %w", protowire.ParseError(n))
		}
		msg = msg[n:]
		var v uint64
		var b []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(msg)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(msg)
		default:
			return fmt.Errorf("reading a message: field %d has wire type %d, which etcd's messages do not use", num, typ)
		}
		if n < 0 {
			return fmt.Errorf("reading field %d of a message: %w", num, protowire.ParseError(n))
		}
		visit(num, v, b)
		msg = msg[n:]
	}
	return nil
}

// watchBatch is one WatchResponse: what happened to a watcher, and the keys of
// the events, each handed to onKey while it is still there.
type watchBatch struct {
	onKey    func(key []byte)
	created  bool
	canceled bool
	reason   string
}

func (w *watchBatch) read(data mem.BufferSlice) error {
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	w.created, w.canceled, w.reason = false, false, ""
	var inner error
	keep := func(err error) {
		if inner == nil {
			inner = err
		}
	}
	err := eachField(buf.ReadOnlyData(), func(num protowire.Number, v uint64, b []byte) {
		switch num {
		case watchCreatedField:
			w.created = v != 0
		case watchCancelField:
			w.canceled = v != 0
		case watchReasonField:
			w.reason = string(b)
		case watchEventsField:
			keep(eachField(b, func(num protowire.Number, _ uint64, kv []byte) {
				if num != eventKvField {
					return
				}
				keep(eachField(kv, func(num protowire.Number, _ uint64, key []byte) {
					if num == kvKeyField {
						w.onKey(key)
					}
				}))
			}))
		}
	})
	return errors.Join(err, inner)
}
