package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"golang.org/x/time/rate"

	"github.com/etcdguard/etcdguard/audit"
	"github.com/etcdguard/etcdguard/control"
	"github.com/etcdguard/etcdguard/guard"
	"github.com/etcdguard/etcdguard/internal/filewatch"
	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/policy"
)

// Config is what a Member needs.
type Config struct {
	// Etcd is etcd's configuration, parsed and validated (ParseOptions). Required.
	Etcd *embed.Config
	// Guard is the guard's configuration. Required.
	Guard *GuardConfig
	// Registry takes the metrics; nil is Prometheus's default, where etcd's are.
	Registry prometheus.Registerer
	// ReloadInterval is how often the policy and certificate files are looked at;
	// 0 is 2 s.
	ReloadInterval time.Duration
	// SweepInterval is how often open connections are held against the trust in
	// force, so that none outlives its certificate; 0 is 10 s.
	SweepInterval time.Duration
}

// Member is a running member.
type Member struct {
	config  Config
	log     *slog.Logger
	zap     *zap.Logger
	etcd    *embed.Etcd
	guard   *guard.Guard
	keeper  *keyring.Keeper
	audit   *audit.Log // nil: nothing is recorded
	control *control.Handler
	metrics *metrics
	door    *door
	// providers wrap the data keys; none: not configured for sealing.
	providers []kms.Provider
	// rejections bounds the log of failed handshakes.
	rejections *rate.Limiter
	// rejectedMore counts those that the bound kept out of it.
	rejectedMore atomic.Int64
	ctx          context.Context // of what runs until the member stops
	cancel       context.CancelFunc
	tasks        sync.WaitGroup
	done         chan error
	serving      sync.Once
	stopped      sync.Once

	reloading sync.Mutex

	policySeen filewatch.State // before it was first read
}

// Start checks the configuration, starts etcd without a client door, waits until
// it has joined its cluster and its ring is open, and opens the guarded door. Whatever it refuses, it
// refuses before etcd touches its data, where that can be known.
func Start(ctx context.Context, c Config) (_ *Member, err error) {
	if c.Registry == nil {
		c.Registry = prometheus.DefaultRegisterer
	}
	if c.ReloadInterval == 0 {
		c.ReloadInterval = 2 * time.Second
	}
	if c.SweepInterval == 0 {
		c.SweepInterval = 10 * time.Second
	}
	policySeen := filewatch.Look([]string{c.Guard.Policy})
	rules, err := policy.Load(c.Guard.Policy)
	if err != nil {
		return nil, fmt.Errorf("loading the policy: %w", err)
	}
	warnings, err := preflight(c.Etcd, c.Guard, rules)
	if err != nil {
		return nil, err
	}
	providers, err := c.Guard.providers()
	if err != nil {
		return nil, err
	}
	lg := c.Etcd.GetLogger()
	m := &Member{
		config: c,
		zap:    lg,
		log:    slog.New(zapslog.NewHandler(lg.Core(), zapslog.WithName("guard"), zapslog.AddStacktraceAt(slog.Level(100)))),
		done:   make(chan error, 1),

		providers:  providers,
		rejections: rate.NewLimiter(10, 100),
		policySeen: policySeen,
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for _, w := range warnings {
		m.log.Warn("unsafe: " + w)
	}
	if m.metrics, err = newMetrics(c.Registry); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	guardMetrics, err := guard.NewMetrics(c.Registry)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	onDisk, err := headOnDisk(c.Etcd.Dir)
	if err != nil {
		// etcd will say what is wrong with its database; compactions only have to wait.
		m.log.Warn("reading the newest revision on disk", slog.Any("error", err))
	}
	// The door's sockets are taken before etcd starts, so that a port in use stops
	// the member before it joins anything. Nobody is let in yet.
	if m.door, err = m.newDoor(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.cancel()
			m.door.close()
			m.tasks.Wait()
			m.closeAudit("it could not start")
			if m.etcd != nil {
				m.etcd.Close()
			}
		}
	}()
	if m.etcd, err = embed.StartEtcd(withRoom(withoutDoors(c.Etcd), m.limits())); err != nil {
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	if m.keeper, err = m.newKeeper(); err != nil {
		return nil, err
	}
	if m.audit, err = m.openAudit(ctx); err != nil {
		return nil, err
	}
	m.control = m.newControl()
	m.guard = guard.New(guard.Config{
		Policy:      rules,
		Etcd:        server{m.etcd.Server},
		Ring:        m.keeper.Ring(),
		Audit:       m.audit,
		Limits:      m.limits(),
		Log:         m.log,
		Metrics:     guardMetrics,
		HeadHistory: filepath.Join(c.Etcd.Dir, "etcdguard-heads.json"),
		HeadOnDisk:  onDisk,
	})
	// Probes are answered from here on: a member that waits for its peers, or later
	// for its keys, is alive, and kubelet must not restart it for that.
	m.door.serveProbes(m)
	if err := m.awaitReady(ctx); err != nil {
		return nil, err
	}
	if err := checkReserved(ctx, m.etcd.Server); err != nil {
		return nil, err
	}
	m.policyInForce(rules)
	m.run()
	if err := m.awaitRing(ctx); err != nil {
		return nil, err
	}
	m.serve()
	m.open()
	return m, nil
}

// withoutDoors is the configuration that etcd gets: everything but the listeners
// for clients, which are the guard's. The advertised URLs stay, since the member
// list shows them, and ClientCertAuth, since etcd's users by certificate need it.
func withoutDoors(c *embed.Config) *embed.Config {
	inner := *c
	inner.ListenClientUrls = nil
	inner.ListenClientHttpUrls = nil
	inner.ListenMetricsUrls = nil
	inner.EnableGRPCGateway = false
	inner.EnablePprof = false
	return &inner
}

// awaitReady waits until etcd has joined its cluster.
func (m *Member) awaitReady(ctx context.Context) error {
	select {
	case <-m.etcd.Server.ReadyNotify():
		return nil
	case <-m.etcd.Server.StopNotify():
		return errors.New("etcd stopped before it had joined its cluster; its log says why")
	case err := <-m.etcd.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run starts what a member does until it stops: this and serve are all of it.
func (m *Member) run() {
	m.task(func() { m.keeper.Run(m.ctx) })
	m.task(func() { m.guard.Run(m.ctx) })
	m.task(func() { m.watchPolicy(m.ctx) })
	m.task(func() { m.watchCertificates(m.ctx) })
	m.task(func() { m.runAudit(m.ctx) })
}

// serve lets clients come, if it has not yet.
func (m *Member) serve() {
	m.serving.Do(func() {
		m.door.serve(m)
		m.task(func() { m.sweep(m.ctx) })
	})
}

// open says that requests are served.
func (m *Member) open() {
	m.guard.SetReady(true)
	m.door.announce(m)
	m.task(func() { m.awaitEnd(m.ctx) })
	m.task(func() { m.exchangeAudit(m.ctx) })
}

func (m *Member) task(f func()) {
	m.tasks.Add(1)
	go func() { defer m.tasks.Done(); f() }()
}

// awaitEnd notices that etcd ended by itself: a member that was removed from its
// cluster, or a fault.
func (m *Member) awaitEnd(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-m.etcd.Server.StopNotify():
		m.end(nil)
	case err := <-m.etcd.Err():
		m.end(err)
	case err := <-m.door.failed:
		m.end(err)
	}
}

func (m *Member) end(err error) {
	select {
	case m.done <- err:
	default:
	}
}

// Done yields once, when the member has ended by itself: nil when it was removed
// from its cluster. Stop has to be called all the same.
func (m *Member) Done() <-chan error { return m.done }

// Guard is the member's guard.
func (m *Member) Guard() *guard.Guard { return m.guard }

// Stop ends the member in an order that loses nothing: it turns unready, ends
// streams with the reason, lets requests under way finish for as long as etcd gives
// one request, and then stops etcd.
func (m *Member) Stop(reason string) {
	m.stopped.Do(func() {
		m.guard.Drain(reason)
		m.control.Close()
		m.door.drain(m.etcd.Server.Cfg.ReqTimeout())
		m.cancel()
		m.tasks.Wait()
		m.closeAudit(reason)
		m.etcd.Close()
	})
}

// Reload puts the files' present policy and certificates in force; of each, what
// is bad leaves the old in force.
func (m *Member) Reload() { _ = errors.Join(m.reloadPolicy(), m.reloadCertificates()) }

func (m *Member) watchPolicy(ctx context.Context) {
	filewatch.Watch(ctx, m.config.ReloadInterval, m.policySeen, []string{m.config.Guard.Policy}, m.reloadPolicy)
}

func (m *Member) reloadPolicy() error {
	m.reloading.Lock() // SIGHUP and the timer: the older of two readings must not win
	defer m.reloading.Unlock()
	p, err := policy.Load(m.config.Guard.Policy)
	m.metrics.reloaded("policy", err)
	if err != nil {
		m.act("policy", "kept", "the one before", "error", err.Error())
		m.log.Error("the policy was not reloaded; the old one stays in force", slog.Any("error", err))
		return err
	}
	m.guard.SetPolicy(p)
	m.policyInForce(p)
	m.act("policy", "digest", p.Digest())
	m.log.Info("the policy was reloaded", slog.String("digest", p.Digest()))
	return nil
}

func (m *Member) policyInForce(p *policy.Policy) {
	m.metrics.enforcing.Set(0)
	if p.Enforces() {
		m.metrics.enforcing.Set(1)
	} else {
		m.log.Warn("the policy observes: what no rule allows is let through and logged")
	}
}
