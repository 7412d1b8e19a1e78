package load

import (
	"context"
	"errors"
)

// Workload is one kind of load.
type Workload struct {
	Name string // as in -workloads and in the figures
	Unit string // what is counted, per second
	Note string // one line for the reader of the figures

	run func(ctx context.Context, t Target, pace Pace, edge func()) (Sample, error)
}

// Run puts the load on t. edge is called when the counted window opens and when
// it closes; read the server's clocks there.
func (w Workload) Run(ctx context.Context, t Target, pace Pace, edge func()) (Sample, error) {
	return w.run(ctx, t, pace, edge)
}

// Workloads returns every workload in the order in which they run: those that
// only read come first, so that they see the same data on every contender, and
// the 10,000-key lists come last, because the memory that they make a server
// take would colour what follows.
func Workloads() []Workload {
	return []Workload{
		{"handshake", "handshakes/s", "full TLS 1.3 handshakes with client certificate, up to the server's first HTTP/2 frame; no resumption", runHandshakes},
		{"get", "gets/s", "linearizable read of one key out of 10,000", overConns(getSteps)},
		{"range-1000", "ranges/s", "linearizable read of 1,000 keys (1 MiB)", overConns(rangeSteps(1000, Clients))},
		{"watch", "events/s", "1,000 watchers on one prefix, 64 streams; events delivered. Latency: from a write until the last watcher has it", overConnsRaw(runWatch)},
		{"txn-mixed", "requests/s", "in ten: eight If(ModRevision) Then(Put) Else(Get), of which one in sixteen conflicts; one get; one page of 100 keys", overConns(txnSteps)},
		{"put", "puts/s", "write of one key out of 10,000", overConns(putSteps)},
		{"range-10000", "ranges/s", "linearizable read of 10,000 keys (10 MiB). " + listNote, overLongConns(rangeSteps(ListKeys, listClients))},
		{"stream-10000", "ranges/s", "the same by RangeStream, as kube-apiserver lists. " + listNote, overLongConns(streamSteps)},
	}
}

// listClients read whole lists, one a connection.
const listClients = Conns

const listNote = "Only 8 clients, twice as long: 64 would have 640 MiB on their way, and end together"

// overLongConns is overConns for operations so slow that few end in a window.
func overLongConns(steps func(s *session) []step) func(context.Context, Target, Pace, func()) (Sample, error) {
	run := overConns(steps)
	return func(ctx context.Context, t Target, pace Pace, edge func()) (Sample, error) {
		pace.Window *= 2
		return run(ctx, t, pace, edge)
	}
}

// overConns runs closed-loop clients that share the session's connections.
func overConns(steps func(s *session) []step) func(context.Context, Target, Pace, func()) (Sample, error) {
	return overConnsRaw(func(ctx context.Context, s *session, pace Pace, edge func()) (Sample, error) {
		return drive(ctx, steps(s), 1, pace, edge)
	})
}

func overConnsRaw(run func(context.Context, *session, Pace, func()) (Sample, error)) func(context.Context, Target, Pace, func()) (Sample, error) {
	return func(ctx context.Context, t Target, pace Pace, edge func()) (sample Sample, err error) {
		s, err := open(t)
		if err != nil {
			return Sample{}, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		return run(ctx, s, pace, edge)
	}
}
