package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/etcdguard/etcdguard/audit/evidence"
)

// Carrier carries the documents by which members show each other their logs. It is not
// trusted: what counts is what a signature or a proof bears out.
type Carrier interface {
	// Documents are those of all members, by member id.
	Documents(ctx context.Context) (map[uint64][]byte, error)
	// Publish puts this member's document in place of the one before.
	Publish(ctx context.Context, document []byte) error
	// Self is this member's id, and Others whether there are more.
	Self() uint64
	Others() bool
	// Changed sends when there may be something new; it is closed when ctx ends.
	Changed(ctx context.Context) (<-chan struct{}, error)
}

// lookEvery is how often members look at each other's documents without being told.
const lookEvery = time.Minute

// Exchange looks at the other members' logs and shows them this one, until ctx ends. A
// checkpoint of another log that continues what was seen of it goes into this one;
// one that does not is reported, in the log, by a metric, and to the operator.
func (l *Log) Exchange(ctx context.Context, c Carrier) {
	changed, err := c.Changed(ctx)
	if err != nil {
		l.log.Warn("other members' audit logs are looked at once a minute only", slog.Any("error", err))
	}
	due := time.NewTicker(evidence.PublishEvery)
	defer due.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	x := &exchange{log: l, carrier: c, said: map[string]string{}}
	for {
		if c.Others() {
			if err := x.round(ctx); err != nil && ctx.Err() == nil {
				l.log.Warn("exchanging audit checkpoints with the other members", slog.Any("error", err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changed:
			if !ok {
				changed = nil
			}
		case <-due.C:
		case <-look.C:
		}
	}
}

// exchange is what a member remembers of it.
type exchange struct {
	log     *Log
	carrier Carrier
	at      time.Time
	said    map[string]string // by origin, what is wrong with it
}

// round looks at the others, and then says what there is to say.
func (x *exchange) round(ctx context.Context) error {
	documents, err := x.carrier.Documents(ctx)
	if err != nil {
		return fmt.Errorf("reading the documents: %w", err)
	}
	own := documents[x.carrier.Self()]
	delete(documents, x.carrier.Self())
	var others []*evidence.Document
	for _, id := range slices.Sorted(maps.Keys(documents)) {
		d, err := evidence.ParseDocument(documents[id])
		if err != nil {
			x.complain(fmt.Sprintf("member %016x", id), "unreadable", err)
			continue
		}
		others = append(others, d)
		if err := x.observe(ctx, d); err != nil {
			return err
		}
	}
	if time.Since(x.at) < evidence.PublishEvery {
		return nil
	}
	return x.publish(ctx, own, others)
}

// observe looks at one other log, and records what came of it.
func (x *exchange) observe(ctx context.Context, d *evidence.Document) error {
	l := x.log
	l.witnessing.Lock()
	defer l.witnessing.Unlock()
	o := l.witness.Observe(d)
	l.metrics.observed.WithLabelValues(string(o.Result)).Inc()
	if o.Why != nil && o.Result != evidence.NoProof {
		x.complain(o.Origin, string(o.Result), o.Why)
	} else {
		delete(x.said, o.Origin)
	}
	if !o.Append {
		return nil
	}
	if err := l.Settle(ctx, &Event{Kind: Witness, Origin: o.Origin, Result: string(o.Result), Note: o.Note}); err != nil {
		return fmt.Errorf("recording what was seen of %s: %w", o.Origin, err)
	}
	l.witness.Recorded(o)
	return nil
}

// publish writes this member's document, if it says something new.
func (x *exchange) publish(ctx context.Context, stored []byte, others []*evidence.Document) error {
	l := x.log
	own := l.latest.Load()
	if own == nil {
		return nil
	}
	// What others have seen must be what this log still has after a power loss.
	if err := l.journal.Await(ctx, uint64(own.Prover.Size())-1); err != nil {
		return fmt.Errorf("waiting for the checkpoint: %w", err)
	}
	var published *evidence.Document
	if stored != nil {
		published, _ = evidence.ParseDocument(stored) // what is not one is written over
	}
	l.witnessing.Lock()
	fresh, disputes, err := l.witness.Compose(*own, published, others)
	l.witnessing.Unlock()
	if err != nil {
		return err
	}
	for _, d := range disputes {
		x.complain(d.By, "disputed", d.Error)
	}
	if !evidence.Due(published, fresh, time.Since(x.at)) {
		return nil
	}
	document, err := fresh.Marshal()
	if err != nil {
		return err
	}
	if bytes.Equal(document, stored) {
		return nil
	}
	x.at = time.Now()
	return x.carrier.Publish(ctx, document)
}

// complain tells the operator what is wrong with a log, once.
func (x *exchange) complain(origin, result string, why error) {
	if x.said[origin] == why.Error() {
		return
	}
	x.said[origin] = why.Error()
	x.log.log.Error("an audit log can't be vouched for", slog.String("origin", origin), slog.String("result", result), slog.Any("error", why))
	x.log.Act("audit", "origin", origin, "result", result, "error", why.Error())
}
