package member

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// auditPrefix begins the keys by which members show each other their audit logs.
const auditPrefix = keyring.ReservedPrefix + "audit/"

// carrier carries the documents of the audit logs in etcd. It implements audit.Carrier.
type carrier struct{ store }

// Documents implements audit.Carrier. What a member itself has is enough, on learners
// there is no other; an older document is looked at again when the newer one is there.
func (c carrier) Documents(ctx context.Context) (map[uint64][]byte, error) {
	r, err := c.Range(ctx, &pb.RangeRequest{Key: []byte(auditPrefix),
		RangeEnd: etcdapi.PrefixEnd([]byte(auditPrefix)), Serializable: true})
	if err != nil {
		return nil, err
	}
	documents := map[uint64][]byte{}
	for _, kv := range r.Kvs {
		id, err := strconv.ParseUint(strings.TrimPrefix(string(kv.Key), auditPrefix), 16, 64)
		if err != nil || string(kv.Key) != auditKey(id) {
			continue // not written by this version
		}
		documents[id] = kv.Value
	}
	return documents, nil
}

// Publish implements audit.Carrier. What members left that are gone goes with it.
func (c carrier) Publish(ctx context.Context, document []byte) error {
	documents, err := c.Documents(ctx)
	if err != nil {
		return err
	}
	ops := []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
		Key: []byte(auditKey(c.MemberID())), Value: document}}}}
	for id := range documents {
		if !c.HasMember(id) {
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
				RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(auditKey(id))}}})
		}
	}
	_, err = c.Txn(ctx, &pb.TxnRequest{Success: ops})
	return err
}

// Self implements audit.Carrier.
func (c carrier) Self() uint64 { return c.MemberID() }

// Others implements audit.Carrier. A learner reads, and has nothing carried: it may
// not write.
func (c carrier) Others() bool { return len(c.Members()) > 1 && !c.IsLearner() }

// Changed implements audit.Carrier.
func (c carrier) Changed(ctx context.Context) (<-chan struct{}, error) {
	return c.Watch(ctx, []byte(auditPrefix), etcdapi.PrefixEnd([]byte(auditPrefix)))
}

func auditKey(id uint64) string { return fmt.Sprintf("%s%016x", auditPrefix, id) }
