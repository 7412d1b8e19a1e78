package member

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var auditKills = flag.Int("audit.kills", 4, "how often the recording member is killed")

// written is what a client outside knows of its writes.
type written struct {
	mu       sync.Mutex
	answered map[string]int64 // key → revision
}

// recordedWrite is what the log has of one write.
type recordedWrite struct {
	intents, outcomes int
	seq               uint64
	code              string
	rev               int64
}

// No acknowledged write without its event, and no event lost, whenever the process is
// killed: the ledger of clients is held against the log.
func TestNoAcknowledgedWriteIsWithoutItsEvent(t *testing.T) {
	w := newWorld(t)
	w.guardConfig("audit: {segment-bytes: 1MiB, min-free-bytes: 1MiB}\n")
	ledger := &written{answered: map[string]int64{}}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	for round := range *auditKills {
		p := w.spawn()
		p.await(ready)
		ctx, cancel := contextOf(context.Background(), p)
		var clients sync.WaitGroup
		for c := range 8 {
			client := w.client("admin")
			clients.Add(1)
			go func() {
				defer clients.Done()
				for i := 0; ctx.Err() == nil; i++ {
					ledger.put(ctx, client, fmt.Sprintf("/k/%03d/%d/%d", round, c, i))
				}
			}()
		}
		time.Sleep(time.Duration(200+dice.IntN(1200)) * time.Millisecond)
		check(t, p.cmd.Process.Kill())
		p.exit()
		cancel()
		clients.Wait()
	}
	p := w.spawn() // which closes the accounts of the last one
	p.await(ready)
	p.signal(os.Interrupt)
	p.exit()

	log := readAudit(t, w.file("data/audit"))
	for key, rev := range ledger.answered {
		e := log[key]
		if e == nil || e.intents != 1 || e.outcomes != 1 {
			t.Fatalf("the write of %s was acknowledged, and is on record as %+v", key, e)
		}
		if e.code != "OK" && e.code != "Lost" || e.code == "OK" && e.rev != rev {
			t.Fatalf("the write of %s was acknowledged at revision %d, and is on record as %+v", key, rev, e)
		}
	}
	lost := 0
	for key, e := range log {
		if e.intents != 1 || e.outcomes != 1 {
			t.Errorf("%s has %d intents and %d outcomes", key, e.intents, e.outcomes)
		}
		if e.code == "Lost" {
			lost++
		}
	}
	if len(ledger.answered) < 100**auditKills {
		t.Errorf("only %d writes were acknowledged: there was no load", len(ledger.answered))
	}
	t.Logf("%d kills, %d writes acknowledged, %d on record, %d without a known outcome", *auditKills, len(ledger.answered), len(log), lost)
}

func (l *written) put(ctx context.Context, c *clientv3.Client, key string) {
	r, err := c.Put(ctx, key, "value")
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered[key] = r.Header.Revision
}

// readAudit reads the writes of the log, as any program could, and holds the numbers
// against the places.
func readAudit(t *testing.T, dir string) map[string]*recordedWrite {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	check(t, err)
	if len(files) == 0 {
		t.Fatalf("there are no segments in %s", dir)
	}
	byKey, bySeq := map[string]*recordedWrite{}, map[uint64]*recordedWrite{}
	next := uint64(0)
	for _, file := range files {
		data, err := os.ReadFile(file)
		check(t, err)
		lines := bytes.Split(bytes.TrimSuffix(bytes.TrimRight(data, "\x00"), []byte("\n")), []byte("\n"))
		for _, line := range lines[1:] {
			var e struct {
				Seq, Of uint64
				Kind    string
				Code    string
				Rev     int64
				Access  []struct{ Key string }
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%s: %v in %q", file, err, line)
			}
			if e.Seq != next {
				t.Fatalf("%s: event %d stands in the place of %d", file, e.Seq, next)
			}
			next++
			switch {
			case e.Kind == "intent" && len(e.Access) == 1:
				known := byKey[e.Access[0].Key]
				if known == nil {
					known = &recordedWrite{seq: e.Seq}
					byKey[e.Access[0].Key] = known
				}
				known.intents++
				bySeq[e.Seq] = known
			case e.Kind == "outcome" && bySeq[e.Of] != nil:
				known := bySeq[e.Of]
				known.outcomes++
				known.code, known.rev = e.Code, e.Rev
			}
		}
	}
	return byKey
}
