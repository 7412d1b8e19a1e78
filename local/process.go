package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StartVerb is the hidden verb of the command line that runs BecomeMember.
const StartVerb = "start-local-member"

// process is what is known of a member's process.
type process struct {
	running bool
	pid     int // 0: not running, or it took its lock an instant ago and will write its pid next
}

// process looks at the lock on the member's pid file, not at the number in it: a
// number outlives its process and is given to another one, a lock does neither.
func (l layout) process(member string) (process, error) {
	f, err := os.Open(l.member(member, "member.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return process{}, nil
	}
	if err != nil {
		return process{}, fmt.Errorf("looking for the process of %s: %w", member, err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if err == nil {
		return process{}, nil // released with f
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return process{}, fmt.Errorf("looking for the process of %s: locking %s: %w", member, f.Name(), err)
	}
	data := make([]byte, 32)
	n, _ := f.ReadAt(data, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data[:n])))
	return process{running: true, pid: pid}, nil
}

// signal sends a signal to the member's process and to no other. os.FindProcess
// takes hold of a process (a pidfd, on Linux); only if the lock is still held
// after that was it the member that it took hold of.
func (l layout) signal(member string, sig os.Signal) error {
	before, err := l.process(member)
	if err != nil || !before.running {
		return err
	}
	if before.pid <= 0 {
		return fmt.Errorf("stopping %s: it is only just starting; try again", member)
	}
	proc, err := os.FindProcess(before.pid)
	if err != nil {
		return fmt.Errorf("stopping %s: %w", member, err)
	}
	defer proc.Release()
	after, err := l.process(member)
	if err != nil || after != before {
		return err // it ended by itself
	}
	if err := proc.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s (pid %d): %w", member, before.pid, err)
	}
	return nil
}

// BecomeMember turns this process into a member: it takes the lock on the pid
// file, writes its own pid there and executes argv in its place. The process
// keeps pid and lock, so there is no moment in which a member runs that nobody
// knows of, however up is killed. It returns only on failure.
func BecomeMember(pidFile string, argv []string) error {
	f, err := os.OpenFile(pidFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("taking the pid file: %w", err)
	}
	// status looks at the lock by trying it for an instant; a member holds it.
	for attempt := 0; ; attempt++ {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			break
		}
		if attempt == 40 {
			return fmt.Errorf("taking the lock on %s: %w: the member runs already", pidFile, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("writing the pid file: %w", err)
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return fmt.Errorf("writing the pid file: %w", err)
	}
	// The lock lives with the open file: it has to stay open across exec.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("keeping the pid file open: %w", err)
	}
	err = syscall.Exec(argv[0], argv, os.Environ())
	runtime.KeepAlive(f)
	return fmt.Errorf("executing %s: %w", argv[0], err)
}

const maxLog = 64 << 20 // a longer member.log moves to member.log.1 at the next start

// start starts one member, detached: in a session of its own, so that neither
// Ctrl-C nor the end of the terminal reaches it.
func (l layout) start(executable, member string) (*started, error) {
	logName := l.member(member, "member.log")
	if info, err := os.Stat(logName); err == nil && info.Size() > maxLog {
		if err := os.Rename(logName, logName+".1"); err != nil {
			return nil, fmt.Errorf("rotating the log of %s: %w", member, err)
		}
	}
	log, err := os.OpenFile(logName, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", member, err)
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", member, err)
	}
	cmd := exec.Command(executable, StartVerb, l.member(member, "member.pid"), "--",
		executable, "member",
		"--config-file", l.member(member, "etcd.yaml"),
		"--guard-config", l.member(member, "guard.yaml"))
	cmd.Dir = l.member(member)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// Settings of some other etcd must not leak in; with a configuration file
	// etcd would ignore them anyway, and warn.
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "ETCD_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", member, err)
	}
	s := &started{member: member, pid: cmd.Process.Pid, log: logName, logFrom: info.Size(), ended: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

// started is a member that this process started and is still the parent of.
type started struct {
	member  string
	pid     int
	log     string
	logFrom int64
	ended   chan struct{} // closed when the process is gone
	err     error         // how; valid after ended
}

// failure is the error for a member that ended before it served, with the last
// lines that it logged.
func (s *started) failure() error {
	data := make([]byte, 1<<20)
	f, err := os.Open(s.log)
	if err != nil {
		return withHint("read "+s.log, "starting %s: it ended (%w)", s.member, s.err)
	}
	defer f.Close()
	from := s.logFrom
	if info, err := f.Stat(); err == nil && info.Size()-from > int64(len(data)) {
		from = info.Size() - int64(len(data))
	}
	n, _ := f.ReadAt(data, from)
	return withHint("the whole log: "+s.log, "starting %s: %s", s.member, lastWords(string(data[:n]), s.err))
}

// lastWords is why a member ended: its own error if it printed one, or else the
// last lines of its log.
func lastWords(log string, ended error) string {
	log = strings.TrimSpace(log)
	const own = "\netcdguard: error: "
	if i := strings.LastIndex("\n"+log, own); i >= 0 {
		return log[i+len(own)-1:]
	}
	lines := strings.Split(log, "\n")
	return fmt.Sprintf("it ended (%v) and said last:\n  %s", ended, strings.Join(lines[max(0, len(lines)-5):], "\n  "))
}

// lockDir keeps two up or down from working in one directory at the same time.
// The kernel releases the lock when the holder ends, however it ends.
func (l layout) lockDir() (release func(), err error) {
	f, err := os.OpenFile(l.lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the cluster's directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, withHint("wait for it to finish and try again", "locking %s: another etcdguard up or down is at work there: %w", l.dir, err)
	}
	return func() { f.Close() }, nil
}
