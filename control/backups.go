package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/keyring"
)

// backupsPrefix begins the keys of declared backups.
const backupsPrefix = keyring.ReservedPrefix + "backups/"

// maxBackups bounds them: they are a list for people.
const maxBackups = 1000

var backupName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}$`)

// backups keeps the list of what else needs data keys: a backup holds sealed values
// for as long as it exists, and nothing but its owner knows of it.
func (h *Handler) backups(ctx context.Context, r BackupsRequest, _ *stream) (any, error) {
	if r.Action == "list" {
		list, err := h.listBackups(ctx)
		return list, err
	}
	if !backupName.MatchString(r.Name) {
		return nil, refusal(http.StatusBadRequest, "the name of a backup has letters, digits and . _ : + - in it, 128 at most", "")
	}
	switch r.Action {
	case "add":
		return h.addBackup(ctx, r)
	case "forget":
		answer, err := h.Etcd.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(backupsPrefix + r.Name)}}}}})
		if err == nil && answer.Responses[0].GetResponseDeleteRange().GetDeleted() == 0 {
			return nil, refusal(http.StatusNotFound, fmt.Sprintf("no backup %q is declared", r.Name), "see etcdguard seal backups list")
		}
		return struct{}{}, err
	}
	return nil, refusal(http.StatusBadRequest, fmt.Sprintf("%q is no action: list, add or forget", r.Action), "")
}

func (h *Handler) addBackup(ctx context.Context, r BackupsRequest) (any, error) {
	now, err := h.settled(ctx)
	if err != nil {
		return nil, err
	}
	b := Backup{Name: r.Name, Added: h.Now().UTC().Truncate(time.Second), Until: r.Until.UTC(), Keys: slices.Clone(r.Keys)}
	for _, k := range now.Keys {
		if len(r.Keys) == 0 && k.State != keyring.Prepare {
			b.Keys = append(b.Keys, k.Number)
		}
	}
	for _, number := range b.Keys {
		if !slices.ContainsFunc(now.Keys, func(k keyring.KeyStatus) bool { return k.Number == number }) {
			return nil, refusal(http.StatusBadRequest, fmt.Sprintf("the ring has no data key %d", number), "see etcdguard seal status")
		}
	}
	if len(b.Keys) == 0 {
		return nil, refusal(http.StatusConflict, "there is no ring: a backup needs no data key", "")
	}
	list, err := h.listBackups(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) >= maxBackups {
		return nil, refusal(http.StatusConflict, fmt.Sprintf("%d backups are declared", len(list)), "forget those that are destroyed")
	}
	data, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	key := []byte(backupsPrefix + b.Name)
	answer, err := h.Etcd.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_ModRevision{}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: data}}}},
	})
	if err != nil {
		return nil, err
	}
	if !answer.Succeeded {
		return nil, refusal(http.StatusConflict, fmt.Sprintf("a backup %q is declared already", b.Name), "choose another name, or forget that one first")
	}
	return b, nil
}

// listBackups are the declared backups, by name. One that can't be read is an error:
// it may need any data key.
func (h *Handler) listBackups(ctx context.Context) ([]Backup, error) {
	r, err := h.Etcd.Range(ctx, rangeOf(backupsPrefix, &pb.RangeRequest{}))
	if err != nil {
		return nil, fmt.Errorf("reading which backups there are: %w", err)
	}
	list := []Backup{}
	for _, kv := range r.Kvs {
		var b Backup
		name := strings.TrimPrefix(string(kv.Key), backupsPrefix)
		if err := json.Unmarshal(kv.Value, &b); err != nil || b.Name != name {
			return nil, fmt.Errorf("the record of backup %q can't be read; forget it and add it anew", name)
		}
		list = append(list, b)
	}
	return list, nil
}
