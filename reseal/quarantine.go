package reseal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/keyring"
)

// QuarantinePrefix begins the keys of values that were moved out of the way:
// QuarantinePrefix MODREVISION "/" KEY. The bytes are those that were stored.
const QuarantinePrefix = keyring.ReservedPrefix + "quarantine/"

func quarantineKey(key []byte, modRevision int64) []byte {
	return append([]byte(QuarantinePrefix+strconv.FormatInt(modRevision, 10)+"/"), key...)
}

// Unopenable calls found with every value in a range that does not open on this
// member.
func Unopenable(ctx context.Context, s Store, ring *keyring.Ring, r etcdapi.Range, found func(Problem) error) error {
	_, _, err := walk(ctx, s, r, func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			if _, err := ring.Open(kv.Key, kv.Value); err != nil {
				if err := found(Problem{Key: kv.Key, ModRevision: kv.ModRevision, Reason: err.Error()}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return err
}

// Quarantined is a value that was moved out of the way.
type Quarantined struct {
	Key         []byte `json:"key"`
	ModRevision int64  `json:"modRevision"` // that it had at its key
	Bytes       int    `json:"bytes"`
}

// ListQuarantined lists what was moved out of the way.
func ListQuarantined(ctx context.Context, s Store) ([]Quarantined, error) {
	var out []Quarantined
	_, _, err := walk(ctx, s, Prefix(QuarantinePrefix), func(kvs []*mvccpb.KeyValue) error {
		for _, kv := range kvs {
			number, key, ok := strings.Cut(strings.TrimPrefix(string(kv.Key), QuarantinePrefix), "/")
			revision, err := strconv.ParseInt(number, 10, 64)
			if !ok || err != nil {
				continue
			}
			out = append(out, Quarantined{Key: []byte(key), ModRevision: revision, Bytes: len(kv.Value)})
		}
		return nil
	})
	return out, err
}

var (
	// ErrNotThere: there is no such value at that revision, live or in quarantine.
	ErrNotThere = errors.New("there is no such value at that mod revision; it was changed, or dealt with already")
	// ErrOpens: the value can be read, and is none of quarantine's business.
	ErrOpens = errors.New("this value opens: read it, write it or delete it like any other")
	// ErrTaken: the key has a value again.
	ErrTaken = errors.New("the key has a value again; delete that first, or drop the quarantined one")
)

// Quarantine moves a value that does not open out of the way. The key is gone then,
// which watchers see as a deletion; its lease, if it had one, is not kept.
func Quarantine(ctx context.Context, s Store, ring *keyring.Ring, key []byte, modRevision int64) error {
	kv, err := unopenableAt(ctx, s, ring, key, modRevision)
	if err != nil {
		return err
	}
	return swapped(ctx, s, []*pb.Compare{modIs(key, modRevision)},
		putOp(quarantineKey(key, modRevision), kv.Value), deleteOp(key))
}

// Drop deletes a value that does not open, or one that was moved out of the way.
func Drop(ctx context.Context, s Store, ring *keyring.Ring, key []byte, modRevision int64) error {
	_, err := unopenableAt(ctx, s, ring, key, modRevision)
	if err == nil {
		return swapped(ctx, s, []*pb.Compare{modIs(key, modRevision)}, deleteOp(key))
	}
	if !errors.Is(err, ErrNotThere) {
		return err
	}
	at := quarantineKey(key, modRevision)
	kv, err := get(ctx, s, at)
	if err != nil {
		return err
	}
	if kv == nil {
		return ErrNotThere
	}
	return swapped(ctx, s, []*pb.Compare{modIs(at, kv.ModRevision)}, deleteOp(at))
}

// Restore moves a value back to its key, if that has none.
func Restore(ctx context.Context, s Store, key []byte, modRevision int64) error {
	at := quarantineKey(key, modRevision)
	kv, err := get(ctx, s, at)
	if err != nil {
		return err
	}
	if kv == nil {
		return ErrNotThere
	}
	if now, err := get(ctx, s, key); err != nil {
		return err
	} else if now != nil {
		return ErrTaken
	}
	return swapped(ctx, s, []*pb.Compare{modIs(at, kv.ModRevision), modIs(key, 0)},
		putOp(key, kv.Value), deleteOp(at))
}

func unopenableAt(ctx context.Context, s Store, ring *keyring.Ring, key []byte, modRevision int64) (*mvccpb.KeyValue, error) {
	if etcdapi.IsReserved(key) || len(key) == 0 {
		return nil, etcdapi.ErrReserved
	}
	kv, err := get(ctx, s, key)
	if err != nil {
		return nil, err
	}
	if kv == nil || kv.ModRevision != modRevision {
		return nil, ErrNotThere
	}
	if _, err := ring.Open(kv.Key, kv.Value); err == nil {
		return nil, ErrOpens
	}
	return kv, nil
}

func get(ctx context.Context, s Store, key []byte) (*mvccpb.KeyValue, error) {
	r, err := s.Range(ctx, &pb.RangeRequest{Key: key})
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	if len(r.Kvs) == 0 {
		return nil, nil
	}
	return r.Kvs[0], nil
}

// swapped does all of ops, or nothing where a compare fails.
func swapped(ctx context.Context, s Store, compares []*pb.Compare, ops ...*pb.RequestOp) error {
	answer, err := s.Txn(ctx, &pb.TxnRequest{Compare: compares, Success: ops})
	if err != nil {
		return fmt.Errorf("moving the value: %w", err)
	}
	if !answer.Succeeded {
		return ErrNotThere
	}
	return nil
}

// modIs compares a mod revision; 0 is that of a key that is not there.
func modIs(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: revision}}
}

func putOp(key, value []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: value}}}
}

func deleteOp(key []byte) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
}
