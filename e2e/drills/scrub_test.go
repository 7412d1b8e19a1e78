package drills

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/etcdguard/etcdguard/e2e/cluster"
	"github.com/etcdguard/etcdguard/e2e/peers"
)

// inTheClear is in every value that was written while it could be stored in the clear.
const inTheClear = "may be in the clear>"

// TestScrubLeavesNothingWhoeverIsKilled has a cluster store values in the clear, seals
// it, and scrubs what that left in files, round after round and under load. The command
// and the members are killed at random points of it, and the command is run again, until
// it says that it is done; then every byte of every member is read without etcdguard.
func TestScrubLeavesNothingWhoeverIsKilled(t *testing.T) {
	notInShort(t)
	s := newScrubbing(t)
	for round := 1; (s.done < *kills || round == 1) && !t.Failed(); round++ {
		began := time.Now()
		s.soil(t)
		s.scrub(t)
		s.clean(t)
		t.Logf("round %d: %v, %d killed so far", round, time.Since(began).Round(time.Second), s.done)
	}
	s.stopLoad()
	s.watch.stop()
	for _, strange := range s.watch.strange[:min(len(s.watch.strange), 10)] {
		t.Error(strange)
	}
	t.Logf("%d killed in %d strikes at %d runs of scrub; %d runs of up:\n%v", s.done, s.strikes, s.runs, s.ups, s.toll)
	t.Logf("the cluster was looked at %d times, %d of them with a member away for its rebuild; %d when somebody was being killed, or nobody answered, do not count",
		s.watch.looked, s.watch.away, s.watch.disturbed)
	t.Logf("what the operator was told, and tried again:\n%s", s.told.said())
	if s.watch.away == 0 {
		t.Error("nobody was seen on the way out of the cluster and back: nothing is shown about the quorum")
	}
}

// scrubbing is a cluster that `etcdguard up` made, and everything around it.
type scrubbing struct {
	*desk
	load     *load
	stopLoad func()
	watch    *quorumWatch
	dice     *rand.Rand
	told     account

	toll                     toll
	done, strikes, runs, ups int
}

func newScrubbing(t *testing.T) *scrubbing {
	c := cluster.Up(t, 3)
	s := &scrubbing{
		// What a Hand can do besides is not for members that `up` started.
		desk: &desk{Hand: &cluster.Hand{Cluster: c}, guard: peers.Path(t, peers.Guard)},
		dice: newDice(t), toll: toll{},
	}
	s.load, s.stopLoad = startLoad(t, c, sealedRegime())
	s.watch = watchQuorum(t, s.desk)
	return s
}

// soil leaves values in the clear in the history, the free pages and the log of every
// member, and none that is live.
func (s *scrubbing) soil(t *testing.T) {
	s.mustSeal(t, "disable", "--yes")
	s.load.regime.begin(false)
	s.written(100)
	s.mustSeal(t, "enable", "--yes")
	s.load.regime.begin(true)
	for _, m := range s.Members {
		if occurrences(t, m.File("data"), inTheClear) == 0 {
			t.Errorf("%s: positive control: no value in the clear was found before scrub", m.Name)
		}
	}
}

// written waits until so many changes more are acknowledged.
func (s *scrubbing) written(n int64) {
	for before := s.load.acknowledged.Load(); s.load.acknowledged.Load() < before+n; {
		time.Sleep(50 * time.Millisecond)
	}
}

// patientFor is how many strikes a scrub has to survive before it is left alone.
const patientFor = 12

// scrub runs the command until it succeeds. What fails is answered as its hints say: up,
// and the same command again.
func (s *scrubbing) scrub(t *testing.T) {
	var left time.Time // when it was left alone
	for leave := s.strikes + patientFor; !t.Failed(); {
		if left.IsZero() && (s.strikes >= leave || s.done >= *kills) {
			left = time.Now()
		}
		err := s.run(left.IsZero())
		if err == nil {
			// Somebody may have been killed when scrub needed nobody any more.
			if err := s.up(); err != nil {
				t.Errorf("scrub is done, and up fails: %v", err)
			}
			return
		}
		s.told.note("seal scrub", err)
		if !left.IsZero() && time.Since(left) > stubborn {
			t.Fatalf("left alone for %v, scrub still fails: %v\n%s", stubborn, err, s.told.said())
		}
		// One that is half rebuilt makes it fail, too, which is for scrub to heal.
		if err := s.up(); err != nil {
			s.told.note("up", err)
		}
	}
}

var ofOneMember = regexp.MustCompile(`\bm[0-9…]`)

// run runs scrub once, and lets it run, or strikes at random points of it.
func (s *scrubbing) run(disturbed bool) error {
	s.runs++
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := exec.CommandContext(ctx, s.guard, "seal", "scrub", "--yes", "--dir", s.Dir)
	said, err := c.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	var all []string
	next := 1 + s.dice.IntN(12) // the line after which somebody is killed
	for lines := bufio.NewScanner(said); lines.Scan(); {
		all = append(all, lines.Text())
		if disturbed && len(all) == next {
			time.Sleep(time.Duration(s.dice.ExpFloat64() * float64(300*time.Millisecond))) // what it says meanwhile waits in the pipe
			s.strike(ofOneMember.ReplaceAllString(differs.ReplaceAllString(lines.Text(), "…"), "mX"), cancel)
			next += 1 + s.dice.IntN(6)
		}
	}
	err = c.Wait()
	s.watch.settled()
	if err != nil {
		return fmt.Errorf("%w after\n%s", err, strings.Join(all[max(0, len(all)-3):], "\n"))
	}
	return nil
}

// strike kills the command, a member, both, or all members.
func (s *scrubbing) strike(during string, killCommand func()) {
	s.strikes++
	what, victims := s.dice.IntN(10), s.Members
	if what < 9 {
		victims = []*cluster.Member{s.Members[s.dice.IntN(len(s.Members))]}
	}
	if what < 4 {
		victims = nil
	}
	s.watch.disturb(victims)
	if what < 4 || what == 7 || what == 8 {
		killCommand()
		s.done++
		s.toll.add(during, "commands", 1)
	}
	for _, m := range victims {
		pid := pidOf(m)
		if pid == 0 {
			continue // on its way out of the cluster, or killed before
		}
		syscall.Kill(pid, syscall.SIGKILL)
		for began := time.Now(); pidOf(m) == pid && time.Since(began) < stubborn; {
			time.Sleep(time.Millisecond)
		}
		s.done++
		s.toll.add(during, "members", 1)
	}
}

// up starts who is down, if somebody is.
func (s *scrubbing) up() error {
	if !slices.ContainsFunc(s.Members, func(m *cluster.Member) bool { return pidOf(m) == 0 }) {
		return nil
	}
	s.ups++
	ctx, cancel := context.WithTimeout(context.Background(), stubborn)
	defer cancel()
	_, err := command(ctx, s.guard, "up", "--dir", s.Dir)
	s.watch.settled()
	return err
}

// clean holds every member to what scrub said.
func (s *scrubbing) clean(t *testing.T) {
	for _, m := range s.Members {
		if n := occurrences(t, m.File("data"), inTheClear); n > 0 {
			t.Errorf("scrub is done, and %s has a value in the clear in %d places", m.Name, n)
		}
		if occurrences(t, m.File("data"), prefix) == 0 {
			t.Errorf("%s: positive control: not even the names of keys were found", m.Name)
		}
	}
	if voters, err := s.watch.voters(s.Members); err != nil || len(voters) != len(s.Members) {
		t.Errorf("scrub is done, and %d of %d members vote (%v)", len(voters), len(s.Members), err)
	}
	s.load.regime.still(func() {
		s.load.agrees(t, s.Cluster)
		alike(t, s.Cluster)
	})
}

// pidOf is the member's process, 0 if it has none: the number in its file counts only
// while it is of a process with the member's configuration.
func pidOf(m *cluster.Member) int {
	raw, err := os.ReadFile(m.File("member.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 1 {
		return 0
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty for one that is dead
	if err != nil || !bytes.Contains(args, []byte(m.File("etcd.yaml"))) {
		return 0
	}
	return pid
}

// quorumWatch looks again and again whether those who vote in the cluster run. It is
// silent about members that the drill has killed.
type quorumWatch struct {
	desk    *desk
	clients map[*cluster.Member]*clientv3.Client
	stop    func() // waits until it has ended

	mu     sync.Mutex
	killed map[*cluster.Member]bool
	epoch  int // moves when somebody is killed

	looked, away, disturbed int
	strange                 []string // what must not be, and was seen
}

func watchQuorum(t testing.TB, d *desk) *quorumWatch {
	w := &quorumWatch{desk: d, clients: map[*cluster.Member]*clientv3.Client{}, killed: map[*cluster.Member]bool{}}
	for _, m := range d.Members {
		w.clients[m] = d.Etcd(t, d.TLS(t, "admin"), m)
	}
	var ended atomic.Bool
	var group sync.WaitGroup
	group.Go(func() {
		for !ended.Load() {
			w.look()
			time.Sleep(50 * time.Millisecond)
		}
	})
	w.stop = func() { ended.Store(true); group.Wait() }
	t.Cleanup(w.stop)
	return w
}

// disturb excuses members from here on, until they are settled.
func (w *quorumWatch) disturb(victims []*cluster.Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.epoch++
	for _, m := range victims {
		w.killed[m] = true
	}
}

// settled ends the excuse of those that run.
func (w *quorumWatch) settled() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for m := range w.killed {
		if pidOf(m) != 0 {
			delete(w.killed, m)
		}
	}
}

// looks is how often it has looked, whether that counts or not.
func (w *quorumWatch) looks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.looked + w.disturbed
}

func (w *quorumWatch) look() {
	w.mu.Lock()
	epoch := w.epoch
	var running []*cluster.Member
	for _, m := range w.desk.Members {
		if pidOf(m) != 0 {
			running = append(running, m)
		}
	}
	w.mu.Unlock()
	voters, err := w.voters(running)
	w.mu.Lock()
	defer w.mu.Unlock()
	if nobody := len(running) == 0 && len(w.killed) == 0; epoch != w.epoch || err != nil && !nobody {
		w.disturbed++
		return
	}
	w.looked++
	if err != nil {
		w.strange = append(w.strange, "nobody was killed, and nobody runs")
		return
	}
	if len(voters) < len(w.desk.Members) {
		w.away++
	}
	up := 0
	for _, m := range w.desk.Members {
		// Whoever was started meanwhile runs, too.
		if voters[m.Name] && (w.killed[m] || slices.Contains(running, m) || pidOf(m) != 0) {
			up++
		}
	}
	if majority := len(voters)/2 + 1; up < majority || len(voters) < len(w.desk.Members)-1 {
		w.strange = append(w.strange, fmt.Sprintf("%d members vote, and %d of them run or were killed by the drill", len(voters), up))
	}
}

// voters are the names of those who vote, as the first member says that answers: what it
// has seen itself, since a majority may not be there to be asked.
func (w *quorumWatch) voters(ask []*cluster.Member) (map[string]bool, error) {
	var problems []error
	for _, m := range ask {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		list, err := w.clients[m].MemberList(ctx, clientv3.WithSerializable())
		cancel()
		if err != nil {
			problems = append(problems, err)
			continue
		}
		names := map[string]bool{}
		for _, m := range list.Members {
			if !m.IsLearner {
				names[m.Name] = true
			}
		}
		return names, nil
	}
	return nil, errors.Join(append(problems, errors.New("nobody answers"))...)
}
