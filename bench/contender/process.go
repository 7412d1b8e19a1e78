package contender

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Process is a contender that runs.
type Process struct {
	Addr string // host:port of its client listener

	cmd    *exec.Cmd
	log    string        // file with what it wrote
	exited chan struct{} // closed once it is gone
	err    error         // why, after exited
}

// launch starts binary with its output in the file log. The kernel kills the
// process when this one dies: a benchmark that is killed leaves no server
// behind, least of all one that is stopped and ignores everything but SIGKILL.
func launch(binary string, args []string, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{cmd: exec.Command(binary, args...), log: log, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C reaches the benchmark alone, which then stops its servers in order
	}
	started := make(chan error)
	go func() {
		// The death signal is tied to the thread that forks: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() { _ = out.Close() }()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// untilReady waits until the server answers a linearizable read.
func (p *Process) untilReady(ctx context.Context, client *tls.Config) error {
	conn, err := grpc.NewClient("passthrough:///"+p.Addr, grpc.WithTransportCredentials(credentials.NewTLS(client)), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	kv := pb.NewKVClient(conn)
	for {
		attempt, done := context.WithTimeout(ctx, 2*time.Second)
		_, err := kv.Range(attempt, &pb.RangeRequest{Key: []byte("/bench/ready")})
		done()
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.obituary()
		case <-ctx.Done():
			return fmt.Errorf("waiting for its first answer: %w (last: %w)\n%s", ctx.Err(), err, p.logTail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Alive says why the process is gone, or nothing while it runs.
func (p *Process) Alive() error {
	select {
	case <-p.exited:
		return p.obituary()
	default:
		return nil
	}
}

func (p *Process) obituary() error {
	return fmt.Errorf("it exited (%v); its last words:\n%s", p.err, p.logTail())
}

func (p *Process) logTail() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-5):], []byte("\n"))
}

// Pause takes the process off the cores.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume puts it back.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("sending %v: %w", s, errors.Join(err, p.Alive()))
	}
	return nil
}

// Stop ends the process, gently if it can, and returns when it is gone.
func (p *Process) Stop() {
	_ = p.Resume() // a stopped process sees no SIGTERM
	_ = p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.signal(syscall.SIGKILL)
		<-p.exited
	}
}
