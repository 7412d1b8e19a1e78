package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Main is the daemon: it parses args (without the program's name), runs a member
// until it is told to stop or ends by itself, and returns the exit code. SIGHUP
// reloads, SIGTERM and SIGINT stop, a second one of these stops at once.
func Main(args []string, stdout, stderr io.Writer) int {
	keepPrivate()
	grpc.EnableTracing = false // keeps requests, values included, for /debug/requests
	options, err := ParseOptions(args, stdout, stderr)
	if errors.Is(err, errDone) {
		return 0
	}
	if err == nil {
		err = Run(options)
	}
	if err != nil {
		fmt.Fprintf(stderr, "etcdguard: error: %v\n", err)
		return 1
	}
	return 0
}

// Run runs a member until a signal stops it or it ends by itself.
func Run(o *Options) error {
	guard, err := LoadGuardConfig(o.GuardFile)
	if err != nil {
		return err
	}
	lg := o.Etcd.GetLogger()
	o.Etcd.SetupGlobalLoggers()
	defer lg.Sync()
	for name, warning := range deprecatedFlags {
		if o.Etcd.FlagsExplicitlySet[name] {
			lg.Warn(warning)
		}
	}

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	m, err := startInterruptibly(Config{Etcd: o.Etcd, Guard: guard}, signals)
	if err != nil {
		lg.Error("the member does not start", zap.Error(err))
		return err
	}
	if m == nil {
		return nil // told to stop while it started
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		lg.Warn("telling systemd that the member is ready", zap.Error(err))
	}
	for {
		select {
		case err := <-m.Done():
			if err == nil {
				lg.Info("etcd stopped: this member is no longer in its cluster, or was told to stop")
			}
			m.stopOr(signals, "this member has left its cluster; use another")
			return err
		case s := <-signals:
			if s == syscall.SIGHUP {
				m.Reload()
				continue
			}
			lg.Info("received signal; shutting down", zap.String("signal", s.String()))
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			m.stopOr(signals, "this member is stopping; use another")
			return nil
		}
	}
}

// startInterruptibly starts a member; a signal meanwhile gives up, since a member
// may wait for its peers for ever.
func startInterruptibly(c Config, signals <-chan os.Signal) (*Member, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	type started struct {
		m   *Member
		err error
	}
	result := make(chan started, 1)
	go func() {
		m, err := Start(ctx, c)
		result <- started{m, err}
	}()
	told := false
	for {
		select {
		case r := <-result:
			if told && r.m != nil {
				r.m.Stop("this member is stopping; use another")
				return nil, nil
			}
			if told {
				return nil, nil
			}
			return r.m, r.err
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue
			}
			if told {
				os.Exit(1)
			}
			told = true
			cancel(errors.New("told to stop while starting"))
		}
	}
}

// stopOr stops the member, or the process when a second signal comes first.
func (m *Member) stopOr(signals <-chan os.Signal, reason string) {
	stopped := make(chan struct{})
	go func() { m.Stop(reason); close(stopped) }()
	for {
		select {
		case <-stopped:
			return
		case s := <-signals:
			if s != syscall.SIGHUP {
				os.Exit(1)
			}
		}
	}
}
