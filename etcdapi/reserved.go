package etcdapi

import (
	"bytes"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Every key that starts with the byte 0x00 is etcdguard's own. The space lies at
// the bottom of the key order, so that keeping clients out of it is moving the
// start of a range: limit, count, more and the chunks of a stream stay exact,
// which a hole in the middle would not allow.
const reservedByte = 0x00

// FirstClientKey is the lowest key that a client can have.
var FirstClientKey = []byte{reservedByte + 1}

// ErrReserved means that a request names nothing but keys of the reserved space, or a
// lease of it.
var ErrReserved = errors.New(`keys that start with the byte \x00, and their leases, are reserved for etcdguard`)

// IsReserved reports whether key lies in the reserved space.
func IsReserved(key []byte) bool { return len(key) > 0 && key[0] == reservedByte }

// confine returns the start of the range that key and rangeEnd name once the
// reserved space is cut off it. It refuses single keys there, and ranges of which
// nothing is left.
func confine(key, rangeEnd []byte) ([]byte, error) {
	if !IsReserved(key) {
		return key, nil
	}
	switch r := NewRange(key, rangeEnd); r.Kind {
	case Tail:
		return FirstClientKey, nil
	case Span:
		if bytes.Compare(r.End, FirstClientKey) > 0 {
			return FirstClientKey, nil
		}
	}
	return nil, ErrReserved
}

// Confine keeps a request out of the reserved space: it moves the start of ranges
// in place, and returns ErrReserved where nothing is left to ask for, or where a lease
// of that space is named. Requests without either are left alone.
func Confine(req any) (err error) {
	var c confiner
	switch r := req.(type) {
	case *pb.RangeRequest:
		return c.VisitRange(r)
	case *pb.PutRequest:
		return c.VisitPut(r)
	case *pb.DeleteRangeRequest:
		return c.VisitDeleteRange(r)
	case *pb.TxnRequest:
		return WalkTxn(r, c)
	case *pb.WatchCreateRequest:
		if len(r.Key) == 0 {
			// etcd reads a watch on no key as one on "\x00" (v3rpc/watch.go).
			r.Key = []byte{reservedByte}
		}
		r.Key, err = confined(r.Key, r.RangeEnd)
		return err
	case *pb.LeaseGrantRequest:
		return confineLease(r.ID)
	case *pb.LeaseRevokeRequest:
		return confineLease(r.ID)
	case *pb.LeaseKeepAliveRequest:
		return confineLease(r.ID)
	case *pb.LeaseTimeToLiveRequest:
		return confineLease(r.ID)
	}
	return nil
}

// confiner is a TxnVisitor that confines each operation.
type confiner struct{}

func (confiner) VisitCompare(c *pb.Compare) (err error) {
	c.Key, err = confined(c.Key, c.RangeEnd)
	return err
}

func (confiner) VisitRange(r *pb.RangeRequest) (err error) {
	r.Key, err = confined(r.Key, r.RangeEnd)
	return err
}

func (confiner) VisitPut(r *pb.PutRequest) error {
	if _, err := confine(r.Key, nil); err != nil {
		return err
	}
	return confineLease(r.Lease)
}

func (confiner) VisitDeleteRange(r *pb.DeleteRangeRequest) (err error) {
	r.Key, err = confined(r.Key, r.RangeEnd)
	return err
}

// confined is confine that keeps the old key on error, so that the record shows
// what was asked.
func confined(key, rangeEnd []byte) ([]byte, error) {
	moved, err := confine(key, rangeEnd)
	if err != nil {
		return key, err
	}
	return moved, nil
}
