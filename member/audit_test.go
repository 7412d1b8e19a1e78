package member

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestTheAuditSectionIsReadStrictly(t *testing.T) {
	const start = "apiVersion: etcdguard.dev/v1\nkind: Guard\npolicy: policy.yaml\naudit:\n"
	for name, c := range map[string]struct{ text, want string }{
		"an unknown field":           {start + "  directory: x\n", "guard.yaml:5: audit.directory"},
		"neither deny nor serve":     {start + "  on-failure: ignore\n", "guard.yaml:5: audit.on-failure"},
		"a size that is none":        {start + "  max-bytes: much\n", "guard.yaml:5: audit.max-bytes"},
		"a size beyond every device": {start + "  segment-bytes: 9000EiB\n", "guard.yaml:5: audit.segment-bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "guard.yaml")
			check(t, os.WriteFile(file, []byte(c.text), 0o600))
			_, err := LoadGuardConfig(file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got: %v", c.want, err)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "guard.yaml")
	check(t, os.WriteFile(file, []byte(start+"  dir: log\n  max-bytes: 2GiB\n"), 0o600))
	c, err := LoadGuardConfig(file)
	check(t, err)
	if n, err := parseSize(c.Audit.MaxBytes); n != 2<<30 || err != nil || c.Audit.Dir != filepath.Join(filepath.Dir(file), "log") {
		t.Errorf("read as %+v, %d bytes, %v", c.Audit, n, err)
	}
}

// auditLines are the events in a member's log that have all of these words.
func auditLines(t *testing.T, dir string, words ...string) (found []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	check(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		check(t, err)
	lines:
		for line := range bytes.Lines(bytes.TrimRight(data, "\x00")) {
			for _, word := range words {
				if !bytes.Contains(line, []byte(word)) {
					continue lines
				}
			}
			found = append(found, string(line))
		}
	}
	return found
}

// What clients of a real member do, and what it does itself, is on record.
func TestWhatHappensAtAMemberIsOnRecord(t *testing.T) {
	w := newWorld(t)
	w.guardConfig("audit: {dir: audit-log, segment-bytes: 1MiB, min-free-bytes: 1MiB}\n")
	m := w.start()
	admin, watcher := w.client("admin"), w.client("watcher")
	ctx := withTimeout(t)
	_, err := admin.Put(ctx, "/w/a", "SECRET")
	check(t, err)
	_, err = watcher.Get(ctx, "/w/a")
	check(t, err)
	if _, err = watcher.Put(ctx, "/w/a", "SECRET"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Fatal(err)
	}
	watched := watcher.Watch(ctx, "/w/", withPrefix, clientv3.WithCreatedNotify())
	<-watched
	if _, err := admin.Put(ctx, "/w/b", "SECRET"); err != nil {
		t.Fatal(err)
	}
	<-watched
	_, err = pb.NewMaintenanceClient(w.dial("admin")).Defragment(ctx, &pb.DefragmentRequest{})
	check(t, err)
	snapshot, err := admin.Snapshot(ctx)
	check(t, err)
	_, err = snapshot.Read(make([]byte, 1))
	check(t, err)
	snapshot.Close()
	if _, err := w.curl("").Get("https://" + w.clientAddr + "/health"); err == nil {
		t.Fatal("a client without a certificate was let in")
	}
	answer, err := w.curl("monitor").Get("https://" + w.clientAddr + "/metrics")
	check(t, err)
	answer.Body.Close()
	w.write("policy.yaml", []byte(thePolicy+"\n# changed\n"))
	m.Reload()
	watcher.Close()
	time.Sleep(200 * time.Millisecond) // reads and streams come to the file a moment later
	m.Stop("the test says so")

	dir := w.file("audit-log")
	for what, words := range map[string][]string{
		"the start":               {`"what":"started"`, `"name":"m1"`},
		"a write's intent":        {`"kind":"intent"`, `"cn":"admin"`, `"action":"KV.Put"`, `"key":"/w/a"`},
		"a write's outcome":       {`"kind":"outcome"`, `"code":"OK"`, `"rev":2`, `"bytes":6`},
		"a read":                  {`"kind":"access"`, `"cn":"watcher"`, `"action":"KV.Range"`, `"key":"/w/a"`, `"keys":1,"bytes":6`},
		"a denial":                {`"kind":"denied"`, `"cn":"watcher"`, `"action":"KV.Put"`, `"code":"PermissionDenied"`},
		"a watch that began":      {`"kind":"watch"`, `"cn":"watcher"`, `"key":"/w/","end":"/w0"`, `"decision":"allowed","rule":"watcher","watch":0}`},
		"a watch that ended":      {`"kind":"watch"`, `"reason":"the stream ended"`, `"keys":1`},
		"an administrative call":  {`"kind":"intent"`, `"action":"Maintenance.Defragment"`},
		"a snapshot":              {`"kind":"intent"`, `"action":"Maintenance.Snapshot"`},
		"a client that was wrong": {`"kind":"handshake"`, `"name":"unverified"`},
		"metrics":                 {`"kind":"access"`, `"cn":"monitor"`, `"action":"HTTP.Metrics"`, `"code":"OK"`},
		"a new policy":            {`"kind":"system"`, `"what":"policy"`, m.Guard().Policy().Digest()},
		"the end":                 {`"what":"stopped"`, "the test says so"},
		"a checkpoint":            {`"kind":"checkpoint"`, "etcdguard.dev/audit/"},
	} {
		if len(auditLines(t, dir, words...)) == 0 {
			t.Errorf("%s is not on record: %q", what, words)
		}
	}
	if found := auditLines(t, dir, "SECRET"); len(found) > 0 {
		t.Errorf("a value is on record: %s", found[0])
	}
	if found := auditLines(t, dir, `"what":"started"`); len(found) != 1 {
		t.Errorf("it started %d times", len(found))
	}
	for _, line := range auditLines(t, dir) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// Members show each other their logs through etcd, and come to rest.
func TestMembersWitnessEachOther(t *testing.T) {
	one, two := newPair(t)
	for _, w := range []*world{one, two} {
		w.guardConfig("audit: {dir: audit-log, segment-bytes: 1MiB, min-free-bytes: 1MiB}\n")
	}
	start1, start2 := one.prepare(), two.prepare()
	m1, m2 := start1(), start2()
	first := <-m1
	if first == nil || <-m2 == nil {
		t.Fatal("not started")
	}
	client := one.client("admin")
	_, err := client.Put(withTimeout(t), "/w/a", "value")
	check(t, err)
	eventually(t, "both to have witnessed the other", func() bool {
		return len(auditLines(t, one.file("audit-log"), `"kind":"witness"`, `"result":"first"`)) > 0 &&
			len(auditLines(t, two.file("audit-log"), `"kind":"witness"`, `"result":"first"`)) > 0
	})
	_, err = client.Put(withTimeout(t), "/w/b", "value")
	check(t, err)
	eventually(t, "the second to have seen that the first goes on", func() bool {
		return len(auditLines(t, two.file("audit-log"), `"kind":"witness"`, `"result":"consistent"`)) > 0
	})
	rev := func() int64 {
		r, err := client.Get(withTimeout(t), "/w/none", countOnly)
		check(t, err)
		return r.Header.Revision
	}
	eventually(t, "no more revisions", func() bool {
		before := rev()
		time.Sleep(11 * time.Second) // longer than the time between two documents
		return rev() == before
	})
}
