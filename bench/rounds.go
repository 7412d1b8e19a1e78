package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/etcdguard/etcdguard/bench/contender"
	"github.com/etcdguard/etcdguard/bench/load"
	"github.com/etcdguard/etcdguard/bench/report"
)

// settle is how long a server has to itself after it wakes up and before it is
// stopped: etcd commits to its database every 100 ms.
const settle = 250 * time.Millisecond

// bench is one run under way.
type bench struct {
	cfg        config
	contenders []contender.Contender
	pki        *contender.PKI
	dir        string
	progress   io.Writer
	figures    *report.Run
}

// measure runs all rounds below dir. What was measured before an error is
// returned with it.
func measure(ctx context.Context, cfg config, contenders []contender.Contender, dir string, progress io.Writer) (*report.Run, error) {
	pki, err := contender.NewPKI(filepath.Join(dir, "pki"))
	if err != nil {
		return nil, err
	}
	machine, err := describeMachine(dir)
	if err != nil {
		return nil, err
	}
	if machine.Filesystem == "tmpfs" {
		fmt.Fprintln(progress, "bench: hint: the data is on tmpfs, where fsync costs nothing; pass -dir on a real disk")
	}
	b := &bench{cfg: cfg, contenders: contenders, pki: pki, dir: dir, progress: progress, figures: &report.Run{
		Started: time.Now(),
		Command: cfg.command(),
		Machine: machine,
		Settings: report.Settings{
			Rounds: cfg.rounds, WarmSeconds: cfg.pace.Warm.Seconds(), WindowSeconds: cfg.pace.Window.Seconds(),
			Conns: load.Conns, Clients: load.Clients, ValueBytes: load.ValueSize,
			FillKeys: load.ListKeys, FillWrites: load.FillPuts,
		},
	}}
	for _, c := range contenders {
		version, err := c.Version(ctx)
		if err != nil {
			return nil, err
		}
		b.figures.Contenders = append(b.figures.Contenders, report.Contender{Name: c.Name, Title: c.Title, Version: version})
	}
	for _, w := range cfg.workloads {
		b.figures.Workloads = append(b.figures.Workloads, report.Workload{Name: w.Name, Unit: w.Unit, Note: w.Note})
	}
	for round := range cfg.rounds {
		if err := b.round(ctx, round); err != nil {
			return b.figures, fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return b.figures, nil
}

// round starts every contender on empty data, fills it, and lets the contenders
// take turns at each workload.
func (b *bench) round(ctx context.Context, round int) (err error) {
	home := filepath.Join(b.dir, fmt.Sprintf("round-%d", round+1))
	running := map[string]*contender.Process{}
	defer func() {
		for _, p := range running {
			p.Stop()
		}
		err = errors.Join(err, os.RemoveAll(home))
	}()
	contenders := b.contenders
	if len(b.cfg.workloads) == 0 {
		contenders = nil
	}
	for _, c := range rotate(contenders, round) {
		b.say(round, "%s: starting and filling", c.Name)
		p, err := c.Start(ctx, filepath.Join(home, c.Name), b.pki)
		if err != nil {
			return err
		}
		running[c.Name] = p
		if err := b.fill(ctx, round, c, p); err != nil {
			return fmt.Errorf("%s: %w", c.Name, errors.Join(err, p.Alive()))
		}
	}
	for i, w := range b.cfg.workloads {
		for _, c := range rotate(b.contenders, round+i) {
			if err := b.window(ctx, round, w, c, running[c.Name]); err != nil {
				return fmt.Errorf("%s on %s: %w", w.Name, c.Name, errors.Join(err, running[c.Name].Alive()))
			}
		}
	}
	if b.cfg.reseal {
		if err := b.reseal(ctx, round, filepath.Join(home, resealName)); err != nil {
			return fmt.Errorf("%s: %w", resealName, err)
		}
	}
	for _, m := range b.cfg.micros {
		b.say(round, "%s: the benchmarks of %s", m.name, m.pkg)
		found, err := m.measure(ctx, b.cfg, b.dir, round)
		if err != nil {
			return err
		}
		b.figures.Micros = append(b.figures.Micros, found...)
	}
	return nil
}

// rotate returns all, beginning with another one each turn.
func rotate[T any](all []T, turn int) []T {
	out := make([]T, 0, len(all))
	for i := range all {
		out = append(out, all[(i+turn)%len(all)])
	}
	return out
}

func (b *bench) fill(ctx context.Context, round int, c contender.Contender, p *contender.Process) error {
	began := time.Now()
	if err := load.Fill(ctx, b.target(p)); err != nil {
		return err
	}
	took := time.Since(began)
	mem, err := p.Memory()
	if err != nil {
		return err
	}
	b.figures.Fills = append(b.figures.Fills, report.Fill{Round: round + 1, Contender: c.Name, Seconds: took.Seconds(), RSSBytes: mem.RSS})
	time.Sleep(settle)
	return p.Pause()
}

func (b *bench) target(p *contender.Process) load.Target {
	return load.Target{Addr: p.Addr, TLS: b.pki.Client()}
}

// window measures one workload on one contender, which alone is awake.
func (b *bench) window(ctx context.Context, round int, w load.Workload, c contender.Contender, p *contender.Process) error {
	if err := p.Resume(); err != nil {
		return err
	}
	time.Sleep(settle)
	m, err := b.sample(ctx, round, w, c, p, b.cfg.pace)
	if err != nil {
		return err
	}
	b.figures.Measured = append(b.figures.Measured, m)
	b.say(round, "%-11s %-11s %s", w.Name, c.Name, figures(w, m))
	time.Sleep(settle)
	return p.Pause()
}

// sample measures one workload on a contender that is awake.
func (b *bench) sample(ctx context.Context, round int, w load.Workload, c contender.Contender, p *contender.Process, pace load.Pace) (report.Measurement, error) {
	if err := p.ResetPeak(); err != nil {
		return report.Measurement{}, err
	}
	runtime.GC() // what the last workload left is not collected during this one
	var edges []clocks
	var edgeErr error
	sample, err := w.Run(ctx, b.target(p), pace, func() {
		now, err := readClocks(p)
		edges, edgeErr = append(edges, now), errors.Join(edgeErr, err)
	})
	if err := errors.Join(err, edgeErr); err != nil {
		return report.Measurement{}, err
	}
	mem, err := p.Memory()
	if err != nil {
		return report.Measurement{}, err
	}
	used := edges[1].since(edges[0])
	return report.Measurement{
		Round: round + 1, Workload: w.Name, Contender: c.Name,
		Ops: sample.Ops, Seconds: sample.Elapsed.Seconds(),
		P50Micros: micros(sample.P50), P99Micros: micros(sample.P99),
		ServerCPUSeconds: used.server.Seconds(), ClientCPUSeconds: used.client.Seconds(),
		OtherCPUSeconds: max(0, used.machine-used.server-used.client).Seconds(),
		PeakRSSBytes:    mem.Peak,
	}, nil
}

// figures is a measurement for who watches the run.
func figures(w load.Workload, m report.Measurement) string {
	return fmt.Sprintf("%9.0f %s, p50 %.2f ms, p99 %.2f ms, server CPU %.1f µs each, cores taken: server %.2f, load %.2f, others %.2f",
		float64(m.Ops)/m.Seconds, w.Unit, m.P50Micros/1e3, m.P99Micros/1e3, m.ServerCPUSeconds*1e6/float64(m.Ops),
		m.ServerCPUSeconds/m.Seconds, m.ClientCPUSeconds/m.Seconds, m.OtherCPUSeconds/m.Seconds)
}

// clocks are the processor times at one edge of a window.
type clocks struct{ server, client, machine time.Duration }

func readClocks(p *contender.Process) (clocks, error) {
	server, err := p.CPU()
	if err != nil {
		return clocks{}, err
	}
	machine, err := contender.MachineCPU()
	return clocks{server: server, client: contender.SelfCPU(), machine: machine}, err
}

func (c clocks) since(then clocks) clocks {
	return clocks{server: c.server - then.server, client: c.client - then.client, machine: c.machine - then.machine}
}

func (b *bench) say(round int, format string, args ...any) {
	fmt.Fprintf(b.progress, "round %d/%d  "+format+"\n", append([]any{round + 1, b.cfg.rounds}, args...)...)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
