package difftest

import (
	"bytes"
	"context"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/internal/difftest/stock"
)

// ownKey is where a guard would keep something of its own.
var ownKey = []byte("\x00own")

// disturbed is a run in which B writes for itself between the requests: once
// before it begins, then every now and then.
func disturbed(t *testing.T, tb testing.TB, budget int64) {
	a := Target{Name: "stock", Address: stock.Start(t, stock.Config{})}
	b := Target{Name: "writer", Conn: dial(t, Target{Address: stock.Start(t, stock.Config{})})}
	kv := pb.NewKVClient(b.Conn)
	write := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// Refused while an alarm is raised or users are on: then there is none.
		if _, err := kv.Put(ctx, &pb.PutRequest{Key: ownKey}); err == nil {
			if _, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: ownKey}); err != nil {
				t.Errorf("the writer's key stays: %v", err)
			}
		}
	}
	write()
	Run(tb, a, b, Options{
		Steps: 2500, Seed: 1, OwnWrites: budget,
		MaxRequestBytes: stock.MaxRequestBytes, MaxTxnOps: stock.MaxTxnOps,
		afterStep: func(step int) {
			if step%40 == 0 {
				write()
			}
		},
		forgive: func(key []byte) bool { return bytes.Equal(key, ownKey) },
	})
}

func TestOwnWritesOfBAreAllowedFor(t *testing.T) { disturbed(t, t, 1000) }
