package etcdapi

import (
	"bytes"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func TestConfineMovesRangesAndRefusesWhatIsReserved(t *testing.T) {
	for _, test := range []struct {
		name, key, end string
		want           string // the key afterwards
		err            error
	}{
		{"a client's key", "a", "", "a", nil},
		{"no key, which etcd refuses", "", "", "", nil},
		{"a reserved key", "\x00x", "", "\x00x", ErrReserved},
		{"the lowest key", "\x00", "", "\x00", ErrReserved},
		{"everything", "\x00", "\x00", "\x01", nil},
		{"everything from a reserved key on", "\x00z", "\x00", "\x01", nil},
		{"from the reserved space into the clients'", "\x00z", "b", "\x01", nil},
		{"up to the first client key", "\x00", "\x01", "\x00", ErrReserved},
		{"up to just above it", "\x00", "\x01\x00", "\x01", nil},
		{"within the reserved space", "\x00a", "\x00b", "\x00a", ErrReserved},
		{"backwards within the reserved space", "\x00b", "\x00a", "\x00b", ErrReserved},
		{"backwards into it", "b", "\x00a", "b", nil}, // holds no key
	} {
		t.Run(test.name, func(t *testing.T) {
			key, end := []byte(test.key), []byte(test.end)
			r := &pb.RangeRequest{Key: bytes.Clone(key), RangeEnd: end}
			d := &pb.DeleteRangeRequest{Key: bytes.Clone(key), RangeEnd: end}
			c := &pb.Compare{Key: bytes.Clone(key), RangeEnd: end}
			in := &pb.RangeRequest{Key: bytes.Clone(key), RangeEnd: end}
			txn := &pb.TxnRequest{Compare: []*pb.Compare{c}}
			nested := &pb.TxnRequest{Failure: ops(txnOp(nil, ops(&pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: in}})))}
			for _, m := range []any{r, d, txn, nested} {
				if err := Confine(m); !errors.Is(err, test.err) {
					t.Errorf("%T: error %v, want %v", m, err, test.err)
				}
			}
			for _, got := range [][]byte{r.Key, d.Key, c.Key, in.Key} {
				if string(got) != test.want {
					t.Errorf("key %q, want %q", got, test.want)
				}
			}
		})
	}
}

func TestConfineReadsAWatchOnNoKeyAsEtcdDoes(t *testing.T) {
	all := &pb.WatchCreateRequest{RangeEnd: []byte{0}}
	if err := Confine(all); err != nil || !bytes.Equal(all.Key, FirstClientKey) {
		t.Errorf("watch on everything: key %q, error %v", all.Key, err)
	}
	if err := Confine(&pb.WatchCreateRequest{}); !errors.Is(err, ErrReserved) {
		t.Errorf("watch on the key \\x00: error %v", err)
	}
}

func TestConfineRefusesReservedPuts(t *testing.T) {
	put := &pb.PutRequest{Key: []byte("\x00etcdguard/ring")}
	if err := Confine(put); !errors.Is(err, ErrReserved) {
		t.Errorf("put: %v", err)
	}
	if err := Confine(&pb.TxnRequest{Failure: ops(txnOp(ops(putOp("\x00k")), nil))}); !errors.Is(err, ErrReserved) {
		t.Errorf("nested put: %v", err)
	}
}

// FuzzConfine: whatever is asked, what is left reaches no reserved key and exactly
// the client keys that it reached before.
func FuzzConfine(f *testing.F) {
	f.Add([]byte("\x00"), []byte("\x00"), []byte("k"))
	f.Add([]byte("\x00a"), []byte("\x01"), []byte("\x00b"))
	f.Add([]byte("a"), []byte("b"), []byte("a"))
	f.Fuzz(func(t *testing.T, key, end, probe []byte) {
		if len(probe) == 0 || len(key) == 0 {
			return
		}
		before := reaches(NewRange(key, end), probe)
		moved, err := confine(key, end)
		if err != nil {
			if before && !IsReserved(probe) {
				t.Fatalf("[%q,%q) reaches the client key %q and is refused", key, end, probe)
			}
			return
		}
		after := reaches(NewRange(moved, end), probe)
		if want := before && !IsReserved(probe); after != want {
			t.Fatalf("[%q,%q) at %q: reached %v before and %v after", key, end, probe, before, after)
		}
	})
}

func reaches(r Range, key []byte) bool {
	switch r.Kind {
	case Point:
		return bytes.Equal(r.Begin, key)
	case Tail:
		return bytes.Compare(key, r.Begin) >= 0
	default:
		return bytes.Compare(key, r.Begin) >= 0 && bytes.Compare(key, r.End) < 0
	}
}
