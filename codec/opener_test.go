package codec

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// halved shows the first half of every value.
type halved struct {
	failAt int // which value can't be shown; 0: none
	lies   bool
	asked  int
}

var errFails = errors.New("fails")

func (h *halved) Size(kv *mvccpb.KeyValue) int {
	if h.lies {
		return len(kv.Value)
	}
	return len(kv.Value) / 2
}

func (h *halved) Append(dst []byte, kv *mvccpb.KeyValue) ([]byte, error) {
	if h.asked++; h.asked == h.failAt {
		return nil, errFails
	}
	return append(dst, kv.Value[:len(kv.Value)/2]...), nil
}

func TestValuesAreOpenedWhereTheyLeaveFrom(t *testing.T) {
	r := random{rand.New(rand.NewPCG(3, 4))}
	for range 200 {
		m := r.ranges()
		want := proto.CloneOf(m)
		for _, kv := range want.Kvs {
			if kv != nil {
				kv.Value = kv.Value[:len(kv.Value)/2]
			}
		}
		one, err := Range(m, &halved{})
		if err != nil {
			t.Fatal(err)
		}
		two, err := RangeStream(&pb.RangeStreamResponse{RangeResponse: m}, &halved{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			sent *Message
			want proto.Message
		}{{one, want}, {two, &pb.RangeStreamResponse{RangeResponse: want}}} {
			expected, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.want)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(c.sent.Bytes(), expected) {
				t.Fatalf("%T of %v is wrong", c.want, m)
			}
			c.sent.data.Free()
		}
	}
}

func TestAnAnswerThatCanNotBeShownIsNone(t *testing.T) {
	m := manyKVs()
	if got, err := Range(m, &halved{failAt: 900}); err != errFails || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := RangeStream(&pb.RangeStreamResponse{RangeResponse: m}, &halved{lies: true}); err != ErrSize || got != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := RangeStream(&pb.RangeStreamResponse{}, &halved{}); err != nil || len(got.Bytes()) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
