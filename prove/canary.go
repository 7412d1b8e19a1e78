package prove

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// canaryPrefix is where canaries are written. What dies between writing one and
// removing it leaves a key there, which is harmless and may be deleted.
const canaryPrefix = "etcdguard/prove/"

// landing bounds how long a write may take to reach the files of every member.
const landing = 15 * time.Second

// sealing is the claim about what the members say.
var sealing = claim{"every member seals, and can open", "the member's own word: strict, every member guarded and confirmed, key providers work",
	(*attempt).everyMemberSeals}

// Sealing asks every node for the state of sealing. It changes nothing.
func Sealing(ctx context.Context, nodes []Node, callers Callers) []Finding {
	return run(ctx, []claim{sealing}, nodes, callers)
}

// stored are the claims about what the disks hold.
var stored = []claim{
	{"values are stored sealed", "a canary written through the front door: its key name is found in the member's files, its value is not; the same search finds the value in a file that has it",
		(*attempt).canary},
	{"nothing is left in the clear on disk", "every byte of the member's files, free pages and logs included; the sealed values that are there are found",
		(*attempt).nothingInTheClear},
	sealing,
}

// canary writes a key with a random value and looks for both in the bytes of the
// member's files. The key's name is the control: it is stored in the clear, so a
// search that misses it did not look where values are.
func (a *attempt) canary(ctx context.Context) (seen string, err error) {
	if len(a.Data) == 0 {
		return "", untried("the member's data directory is not on this machine")
	}
	ctx, cancel := context.WithTimeout(ctx, landing+2*askFor)
	defer cancel()
	name, value := canaryPrefix+rand.Text(), rand.Text()+rand.Text()
	needles := []needle{{"name", []byte(name)}, {"value", []byte(value)}, {"half", []byte(value[:len(value)/2])}}
	if err := canFind(needles[1:]); err != nil {
		return "", err
	}
	conn, err := a.connectAs(a.Admin)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(name), Value: []byte(value)}); err != nil {
		return "", untried("writing the canary: %w", err)
	}
	defer func() {
		// Without the attempt's deadline: a canary must not outlive it for being late.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
		defer cancel()
		if _, e := kv.DeleteRange(clean, &pb.DeleteRangeRequest{Key: []byte(name)}); e != nil {
			err = errors.Join(err, untried("removing the canary %s again: %w", name, e))
		}
	}()
	back, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(name)})
	if err != nil {
		return "", untried("reading the canary back: %w", err)
	}
	if len(back.Kvs) != 1 || string(back.Kvs[0].Value) != value {
		return "", errors.New("the canary did not come back as it was written")
	}
	s, err := a.await(ctx, needles)
	if err != nil {
		return "", err
	}
	for _, needle := range needles[1:] {
		if where, there := s.found[needle.name]; there {
			return "", fmt.Errorf("the canary's value is in the clear in %s", where)
		}
	}
	seen = fmt.Sprintf("key name in %s, value nowhere in %d files, %d bytes", s.found["name"], s.files, s.bytes)
	if len(s.unread) > 0 {
		return "", untried("%d files could not be read, the first: %s", len(s.unread), s.unread[0])
	}
	return seen, nil
}

// await searches until the canary's key name has reached the database file as well
// as the log: values must be looked for in both. etcd writes its database back every
// 100 ms; the files are read from end to end, so a few rounds are enough.
func (a *attempt) await(ctx context.Context, needles []needle) (search, error) {
	for {
		s, err := find(a.Data, needles...)
		if err != nil {
			return s, untried("%w", err)
		}
		db, err := find(databases(a.Data), needles[0])
		if err == nil && s.found["name"] != "" && db.found["name"] != "" {
			// Once more: the value may have come after this search had passed.
			return find(a.Data, needles...)
		}
		select {
		case <-ctx.Done():
			return s, untried("the canary's key name did not appear in the member's files within %v", landing)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func databases(data []string) (dirs []string) {
	for _, dir := range data {
		snap := filepath.Join(dir, "member", "snap")
		if _, err := os.Stat(snap); err == nil {
			dirs = append(dirs, snap)
		}
	}
	return dirs
}

// canFind is the control of the search itself: what is in a file is found, also
// where two reads meet.
func canFind(needles []needle) error {
	dir, err := os.MkdirTemp("", "etcdguard-prove-")
	if err != nil {
		return untried("%w", err)
	}
	defer os.RemoveAll(dir)
	content := make([]byte, 1<<20-7)
	for _, n := range needles {
		content = append(content, n.bytes...)
	}
	if err := os.WriteFile(filepath.Join(dir, "control"), content, 0o600); err != nil {
		return untried("%w", err)
	}
	s, err := find([]string{dir}, needles...)
	if err != nil || len(s.found) != len(needles) {
		return untried("the search does not find what is there: %w", errors.Join(err))
	}
	return nil
}
