package keyring

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// swap stores the document if the conditions hold; ErrOvertaken if they do not.
func (k *Keeper) swap(ctx context.Context, d *Document, conditions []*pb.Compare) (revision int64, err error) {
	r, err := k.config.Store.Txn(ctx, &pb.TxnRequest{
		Compare: conditions,
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(DocumentKey), Value: d.Marshal()}}}},
	})
	if err != nil {
		return 0, err
	}
	if !r.Succeeded {
		return 0, errOvertaken
	}
	return r.Header.Revision, nil
}

// isAbsent holds if there is no key in [key, end).
func isAbsent(key, end []byte) *pb.Compare {
	return &pb.Compare{Key: key, RangeEnd: end, Target: pb.Compare_VERSION, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_Version{Version: 0}}
}

// isThere holds if there is a key of that name.
func isThere(key []byte) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_VERSION, Result: pb.Compare_GREATER,
		TargetUnion: &pb.Compare_Version{Version: 0}}
}

func isAtRevision(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision}}
}

// prefixEnd is the end of the range of all keys that begin with prefix, which does not
// end with the byte 0xff.
func prefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}
