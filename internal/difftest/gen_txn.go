package difftest

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// writes says what the ops of one whole Txn may write, at every level of it.
//
// etcd 3.7 does not see every overlap of a put with a delete range (public issues
// 22445 and 22376): where it misses one, data is lost or the member stops for good.
// The guard refuses those shapes; nothing here may send one to an etcd, so a Txn is
// made in one of five ways that are safe by construction, and poisonous holds that
// before anything is sent.
type writes uint8

const (
	readsOnly   writes = iota
	putsOnly           // any keys, the same one twice included
	deletesOnly        // any ranges, open-ended ones included
	apart              // puts below halfway, closed deletes above
	flat               // puts and closed deletes that may overlap, in one list: etcd sees that
)

const maxDepth = 3

func (g *generator) txn() {
	mode := writes(g.rng.IntN(5))
	t := g.txnRequest(mode, 1)
	switch g.rng.IntN(40) {
	case 0: // too many
		for len(t.Success) <= g.r.opt.MaxTxnOps {
			t.Success = append(t.Success, g.rangeOp())
		}
	case 1:
		for len(t.Compare) <= g.r.opt.MaxTxnOps {
			t.Compare = append(t.Compare, g.compare())
		}
	case 2: // as many as may be, so that none are left for a nested one
		for len(t.Failure) < g.r.opt.MaxTxnOps {
			t.Failure = append(t.Failure, g.rangeOp())
		}
	case 3:
		t.Success = append(t.Success, &pb.RequestOp{}) // no request in the op
	case 4:
		t.Failure = append(t.Failure, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{}}})
	case 5:
		t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}}})
	case 6:
		t.Compare = append(t.Compare, &pb.Compare{}) // no key, no operand
	}
	g.send("KV.Txn", t)
}

func (g *generator) txnRequest(mode writes, depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range g.rng.IntN(4) {
		t.Compare = append(t.Compare, g.compare())
	}
	if len(t.Compare) == 1 && g.chance(50) {
		t.Compare[0] = g.valueCompare()
	} else if g.chance(40) { // else the second branch hardly ever runs
		t.Compare = append(t.Compare, &pb.Compare{Key: g.realKey(), Target: pb.Compare_VERSION,
			Result: pick(g, []pb.Compare_CompareResult{pb.Compare_LESS, pb.Compare_GREATER}), TargetUnion: &pb.Compare_Version{Version: 0}})
	}
	t.Success = g.ops(mode, depth)
	t.Failure = g.ops(mode, depth)
	return t
}

func (g *generator) ops(mode writes, depth int) []*pb.RequestOp {
	var ops []*pb.RequestOp
	for range g.rng.IntN(4) {
		switch n := g.rng.IntN(100); {
		case n < 25 && depth < maxDepth:
			nested := mode
			if mode == flat {
				nested = readsOnly
			}
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txnRequest(nested, depth+1)}})
		case n < 50 || mode == readsOnly:
			ops = append(ops, g.rangeOp())
		default:
			ops = append(ops, g.writeOp(mode))
		}
	}
	return ops
}

func (g *generator) rangeOp() *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest(true)}}
}

func (g *generator) writeOp(mode writes) *pb.RequestOp {
	put := mode == putsOnly || mode != deletesOnly && g.chance(60)
	if put {
		p := g.putRequest()
		p.PrevKv = p.PrevKv || g.chance(50) // seldom so deep
		if mode == apart && len(p.Key) > 0 {
			p.Key = []byte(pick(g, lowerKeys))
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
	}
	d := &pb.DeleteRangeRequest{PrevKv: g.chance(50)}
	switch mode {
	case deletesOnly:
		d.Key, d.RangeEnd = g.span()
	case apart:
		d.Key, d.RangeEnd = g.closedSpan(upperKeys)
	default:
		d.Key, d.RangeEnd = g.closedSpan(universe)
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}
}

var lowerKeys, upperKeys = halves()

func halves() (lower, upper []string) {
	for _, k := range universe {
		if k < halfway {
			lower = append(lower, k)
		} else {
			upper = append(upper, k)
		}
	}
	return lower, upper
}

// compare is a condition of any target, result and spread, sometimes with the
// operand of another target, or none: etcd takes that as zero.
func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{
		Key:    g.realKey(),
		Target: pb.Compare_CompareTarget(g.rng.IntN(5)),
		Result: pb.Compare_CompareResult(g.rng.IntN(4)),
	}
	if g.chance(40) {
		c.Target = pb.Compare_VALUE
	}
	if g.chance(20) {
		c.Key, c.RangeEnd = g.span()
	} else if g.chance(10) {
		c.RangeEnd = append(bytes.Clone(c.Key), 0) // a range that is one key
	}
	operand := c.Target
	if g.chance(5) {
		operand = pb.Compare_CompareTarget(g.rng.IntN(6)) // 5 is none
	}
	switch operand {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: int64(g.rng.IntN(6)) - 1}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.seenRevision()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.seenRevision()}
	case pb.Compare_VALUE:
		v, put := g.w.put[string(c.Key)]
		if !put || g.chance(50) {
			v = g.value()
		}
		c.TargetUnion = &pb.Compare_Value{Value: v}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.anyLease()}
	}
	return c
}

// valueCompare is one on VALUE.
func (g *generator) valueCompare() *pb.Compare {
	for {
		if c := g.compare(); c.Target == pb.Compare_VALUE {
			return c
		}
	}
}

// poisonous reports whether a Txn holds a put and a delete range in an arrangement
// where etcd's own check is known to fail, or might: an open-ended or reversed
// delete anywhere beside a put anywhere, or puts and deletes on both sides of a
// nested Txn that touch.
func poisonous(t *pb.TxnRequest) bool {
	puts, deletes, open := writesOf(t)
	if len(puts) == 0 || len(deletes) == 0 {
		return false
	}
	if open {
		return true
	}
	if !nests(t) {
		return false
	}
	writesFlat := len(writesAtTop(t)) == len(puts)+len(deletes)
	if writesFlat {
		return false
	}
	for _, p := range puts {
		for _, d := range deletes {
			if covers(d, p.Key) {
				return true
			}
		}
	}
	return false
}

func covers(d *pb.DeleteRangeRequest, key []byte) bool {
	if len(d.RangeEnd) == 0 {
		return bytes.Equal(d.Key, key)
	}
	return bytes.Compare(key, d.Key) >= 0 && bytes.Compare(key, d.RangeEnd) < 0
}

// writesOf collects all writes of all levels and branches; open reports a delete
// whose end is not above its key.
func writesOf(t *pb.TxnRequest) (puts []*pb.PutRequest, deletes []*pb.DeleteRangeRequest, open bool) {
	for _, op := range append(append([]*pb.RequestOp(nil), t.GetSuccess()...), t.GetFailure()...) {
		switch q := op.GetRequest().(type) {
		case *pb.RequestOp_RequestPut:
			puts = append(puts, q.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			d := q.RequestDeleteRange
			deletes = append(deletes, d)
			open = open || len(d.RangeEnd) > 0 && bytes.Compare(d.Key, d.RangeEnd) >= 0
		case *pb.RequestOp_RequestTxn:
			p, d, o := writesOf(q.RequestTxn)
			puts, deletes, open = append(puts, p...), append(deletes, d...), open || o
		}
	}
	return puts, deletes, open
}

func writesAtTop(t *pb.TxnRequest) []*pb.RequestOp {
	var out []*pb.RequestOp
	for _, op := range append(append([]*pb.RequestOp(nil), t.GetSuccess()...), t.GetFailure()...) {
		if op.GetRequestPut() != nil || op.GetRequestDeleteRange() != nil {
			out = append(out, op)
		}
	}
	return out
}

func nests(t *pb.TxnRequest) bool {
	for _, op := range append(append([]*pb.RequestOp(nil), t.GetSuccess()...), t.GetFailure()...) {
		if op.GetRequestTxn() != nil {
			return true
		}
	}
	return false
}
