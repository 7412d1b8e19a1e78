package drills

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

// desk is where an operator of a cluster sits: the tools, and the admin's certificate.
type desk struct {
	*cluster.Hand
	guard, etcdctl, etcdutl string
}

func deskOf(t testing.TB, h *cluster.Hand) *desk {
	t.Helper()
	return &desk{h, peers.Path(t, peers.Guard), peers.Path(t, "etcdctl"), peers.Path(t, "etcdutl")}
}

// sealedCluster is a cluster that was sealed from birth, and its operator.
func sealedCluster(t testing.TB, n int) (d *desk, keyFile string) {
	t.Helper()
	h := cluster.ByHand(t, n)
	keyFile = h.ConfigureSealing(t, "")
	h.Run(t, peers.Guard)
	d = deskOf(t, h)
	if s := d.status(t); s.Phase != "strict" {
		t.Fatalf("a new cluster is in phase %q, not strict", s.Phase)
	}
	return d, keyFile
}

// as are the flags that etcdctl and etcdguard share.
func (d *desk) as(identity string, members ...*cluster.Member) []string {
	if len(members) == 0 {
		members = d.Members
	}
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, "https://"+m.ClientAddr())
	}
	crt, key := d.Identity(identity)
	return []string{"--endpoints", strings.Join(endpoints, ","), "--cacert", d.CAFile(), "--cert", crt, "--key", key}
}

// seal runs `etcdguard seal` as the admin.
func (d *desk) seal(ctx context.Context, args ...string) (string, error) {
	return command(ctx, d.guard, slices.Concat([]string{"seal"}, args, d.as("admin"))...)
}

// mustSeal is seal for a step that has to succeed at once.
func (d *desk) mustSeal(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stubborn)
	defer cancel()
	out, err := d.seal(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// must runs a program that has to succeed.
func must(t testing.TB, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stubborn)
	defer cancel()
	out, err := command(ctx, program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// command runs a program and returns what it printed to stdout. The error has what it
// printed to stderr.
func command(ctx context.Context, program string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, program, args...) // SIGKILL when ctx ends
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		shown := args[:min(len(args), 3)]
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(shown, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), err
}

// sealStatus is the part of `etcdguard seal status -o json` that drills look at.
type sealStatus struct {
	Ring        string `json:"ring"`
	Generation  uint64 `json:"generation"`
	Phase       string `json:"phase"`
	Quarantined int64  `json:"quarantined"`
	Keys        []struct {
		Number int    `json:"number"`
		State  string `json:"state"`
	} `json:"keys"`
	Members []memberStatus `json:"members"`
}

type memberStatus struct {
	Name      string `json:"name"`
	Guarded   bool   `json:"guarded"`
	Unguarded bool   `json:"unguarded"`
	Confirmed bool   `json:"confirmed"`
	Waiting   string `json:"waiting"`
}

// active is the number of the data key that seals.
func (s sealStatus) active() int {
	for _, k := range s.Keys {
		if k.State == "active" {
			return k.Number
		}
	}
	return 0
}

// confirmed reports whether every member has the ring in force.
func (s sealStatus) confirmed() bool {
	return len(s.Members) > 0 && !slices.ContainsFunc(s.Members, func(m memberStatus) bool { return !m.Confirmed })
}

// askStatus asks one of the members that are named, or any. The command ends with 1
// where something needs attention, which is for the drill to judge.
func (d *desk) askStatus(ctx context.Context, members ...*cluster.Member) (sealStatus, error) {
	out, err := command(ctx, d.guard, append([]string{"seal", "status", "--fast", "-o", "json"}, d.as("admin", members...)...)...)
	var answer struct{ Status *sealStatus }
	if out != "" {
		err = json.Unmarshal([]byte(out), &answer)
	}
	if err == nil && answer.Status == nil {
		err = fmt.Errorf("etcdguard seal status says %q", out)
	}
	if err != nil {
		return sealStatus{}, err
	}
	return *answer.Status, nil
}

func (d *desk) status(t testing.TB, members ...*cluster.Member) sealStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stubborn)
	defer cancel()
	s, err := d.askStatus(ctx, members...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits until what is asked for is there.
func eventually(t testing.TB, within time.Duration, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > within {
			t.Fatalf("%s: not within %v", what, within)
		}
	}
}

// onlySealed holds the raw files of every member to not having a text in any byte,
// while the names of keys are there: the positive control.
func onlySealed(t testing.TB, h *cluster.Hand, control string, secrets ...string) {
	t.Helper()
	for _, m := range h.Members {
		for _, s := range secrets {
			if n := occurrences(t, m.File("data"), s); n > 0 {
				t.Errorf("%s: a value lies in the clear in %d places", m.Name, n)
			}
		}
		if occurrences(t, m.File("data"), control) == 0 {
			t.Errorf("%s: positive control: not even the names of keys were found", m.Name)
		}
	}
}

func writeFile(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
