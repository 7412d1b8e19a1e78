package mutants

// planted are the bugs. Each is one that a person could make.
var planted = []mutant{
	// Ranges and the reserved space.
	{
		name: "an open-ended range is taken for an interval",
		file: "etcdapi/range.go",
		old:  "case bytes.Equal(rangeEnd, openEnd):",
		new:  "case len(rangeEnd) < 0:",
	},
	{
		name:         "the lowest client key is one too high",
		file:         "etcdapi/reserved.go",
		old:          "[]byte{reservedByte + 1}",
		new:          "[]byte{reservedByte + 2}",
		differential: true,
	},
	{
		name: "an open-ended range is not clamped",
		file: "etcdapi/reserved.go",
		old:  "case Tail:\n\t\treturn FirstClientKey, nil",
		new:  "case Tail:\n\t\treturn key, nil",
	},
	{
		name: "a range that ends at the first client key passes",
		file: "etcdapi/reserved.go",
		old:  "bytes.Compare(r.End, FirstClientKey) > 0",
		new:  "bytes.Compare(r.End, FirstClientKey) >= 0",
	},
	{
		name:         "an interval from the reserved space is denied",
		file:         "etcdapi/reserved.go",
		old:          "bytes.Compare(r.End, FirstClientKey) > 0",
		new:          "bytes.Compare(r.End, FirstClientKey) < 0",
		differential: true,
	},
	{
		name: "the shortest reserved key is not reserved",
		file: "etcdapi/reserved.go",
		old:  "len(key) > 0 && key[0] == reservedByte",
		new:  "len(key) > 1 && key[0] == reservedByte",
	},
	{
		name: "a put may go into the reserved space",
		file: "etcdapi/reserved.go",
		old:  "if _, err := confine(r.Key, nil); err != nil {\n\t\treturn err\n\t}\n\treturn confineLease(r.Lease)",
		new:  "return confineLease(r.Lease)",
	},
	{
		name: "a compare may look into the reserved space",
		file: "etcdapi/reserved.go",
		old:  "func (confiner) VisitCompare(c *pb.Compare) (err error) {\n\tc.Key, err = confined(c.Key, c.RangeEnd)\n\treturn err",
		new:  "func (confiner) VisitCompare(*pb.Compare) error {\n\treturn nil",
	},
	{
		name:         "clamping a range loses its limit",
		file:         "etcdapi/reserved.go",
		old:          "func (confiner) VisitRange(r *pb.RangeRequest) (err error) {",
		new:          "func (confiner) VisitRange(r *pb.RangeRequest) (err error) {\n\tif IsReserved(r.Key) {\n\t\tr.Limit = 0\n\t}",
		differential: true,
	},
	{
		name: "a watch may look into the reserved space",
		file: "guard/stages.go",
		old:  "if err := etcdapi.Confine(w.GetCreateRequest()); err != nil {",
		new:  "if err := error(nil); err != nil {",
	},

	// The walk through a Txn.
	{
		name: "the second branch is skipped",
		file: "etcdapi/txn.go",
		old:  "return walkOps(t.Failure, v)",
		new:  "return nil",
	},
	{
		name: "a nested Txn is skipped",
		file: "etcdapi/txn.go",
		old:  "err = WalkTxn(r.RequestTxn, v)",
		new:  "_ = r.RequestTxn",
	},
	{
		name: "compares are skipped",
		file: "etcdapi/txn.go",
		old:  "for _, c := range t.Compare {",
		new:  "for _, c := range t.Compare[:0] {",
	},
	{
		name: "an overlap at the delete's own key is missed",
		file: "etcdapi/txn.go",
		old:  "bytes.Compare(b.putUpTo, a.deleteFrom) >= 0",
		new:  "bytes.Compare(b.putUpTo, a.deleteFrom) > 0",
	},
	{
		name: "an overlap in a nested second branch is missed",
		file: "etcdapi/txn.go",
		old:  "one = success.with(failure)",
		new:  "_ = failure\n\t\t\tone = success",
	},
	{
		name:         "an interval is taken for open-ended",
		file:         "etcdapi/txn.go",
		old:          "NewRange(d.Key, d.RangeEnd).Kind == Tail",
		new:          "d.RangeEnd != nil",
		differential: true,
	},
	{
		name: "overlaps are not refused",
		file: "guard/stages.go",
		old:  "if etcdapi.OverlapsOpenEnded(m) {",
		new:  "if false && etcdapi.OverlapsOpenEnded(m) {",
	},
	{
		name: "peer URLs that end every member pass",
		file: "guard/stages.go",
		old:  "answer = rpctypes.ErrGRPCMemberBadURLs",
		new:  "_ = rpctypes.ErrGRPCMemberBadURLs",
	},

	// What nobody knows.
	{
		name: "unknown fields of a Txn pass",
		file: "etcdapi/unknown.go",
		old:  "if !txnHasUnknown(m) {",
		new:  "if m != nil {",
	},
	{
		name: "unknown fields of a nested Txn pass",
		file: "etcdapi/unknown.go",
		old:  "if r.RequestTxn != nil && txnHasUnknown(r.RequestTxn) {",
		new:  "if r.RequestTxn != nil && hasUnknown(r.RequestTxn) {",
	},
	{
		name: "disarming an alarm is judged as reading it",
		file: "etcdapi/method.go",
		old:  "return MaintenanceAlarmDeactivate",
		new:  "return MaintenanceAlarmGet",
	},
	{
		name: "a defragmentation is judged as a status",
		file: "etcdapi/method.go",
		old:  `"Defragment": MaintenanceDefragment`,
		new:  `"Defragment": MaintenanceStatus`,
	},
	{
		name:         "an unknown RPC has another text",
		file:         "guard/denial.go",
		old:          `"unknown method %v for service %v"`,
		new:          `"unknown method %v of service %v"`,
		differential: true,
	},

	// Judging.
	{
		name: "nothing is authorised",
		file: "guard/stages.go",
		old:  "\t(*Guard).authorise,\n",
		new:  "",
	},
	{
		name: "a previous value of a put is not a read",
		file: "guard/authorise.go",
		old:  "if m.PrevKv {\n\t\tif err := a.decide(audit.Access{Action: read, Keys: asked.Keys}); err != nil {",
		new:  "if m.PrevKv {\n\t\tif err := error(nil); err != nil {",
	},
	{
		name: "previous values of a delete are not a read",
		file: "guard/authorise.go",
		old:  "return a.decide(audit.Access{Action: read, Keys: keys})",
		new:  "return nil",
	},
	{
		name: "attaching to a lease asks for nothing",
		file: "guard/authorise.go",
		old:  "if m.Lease != 0 {",
		new:  "if m.Lease < -1<<62 {",
	},
	{
		name: "revoking a lease asks for no keys",
		file: "guard/lease.go",
		old:  "return a.everyLeaseKey(etcdapi.KVTxnDeleteRange, m.ID)",
		new:  "return nil",
	},
	{
		name: "a lease shows all its keys",
		file: "guard/lease.go",
		old:  "range answer.Keys {",
		new:  "range answer.Keys[:0] {",
	},
	{
		name: "a young revision may be compacted",
		file: "guard/heads.go",
		old:  "if revision <= s.Revision {\n\t\t\t\treturn old",
		new:  "if revision >= s.Revision {\n\t\t\t\treturn old",
	},
	{
		name: "a connection keeps the policy that it came under",
		file: "guard/caller.go",
		old:  "ok && c.policy == inForce",
		new:  "ok",
	},
	{
		name: "what the gateway alone may say passes",
		file: "guard/caller.go",
		old:  "if strings.HasPrefix(key, gatewayPrefix) {",
		new:  "if strings.HasPrefix(key, gatewayPrefix+gatewayPrefix) {",
	},

	// Streams.
	{
		name: "messages of a stream are not judged",
		file: "guard/stream.go",
		old:  "_, err := s.judge(m.(proto.Message))\n\treturn err",
		new:  "_ = m.(proto.Message)\n\treturn nil",
	},
	{
		name: "open watches outlive their rights",
		file: "guard/guard.go",
		old:  "\t\ts.recheck()\n",
		new:  "\t\t_ = s\n",
	},
	{
		name: "a denied watch has no header",
		file: "guard/watch.go",
		old:  "Header:       w.guard.etcd.Header(),\n",
		new:  "",
	},
	{
		name: "a denied watch is not said to be over",
		file: "guard/watch.go",
		old:  "Canceled:     true,\n\t\t\tCancelReason",
		new:  "CancelReason",
	},
	{
		name:         "a watch loses its previous values",
		file:         "guard/watch.go",
		old:          "proto.Merge(target, m)",
		new:          "proto.Merge(target, m)\n\t\tif c := target.GetCreateRequest(); c != nil {\n\t\t\tc.PrevKv = false\n\t\t}",
		differential: true,
	},
	{
		name:         "a watch loses its filters",
		file:         "guard/watch.go",
		old:          "proto.Merge(target, m)",
		new:          "proto.Merge(target, m)\n\t\tif c := target.GetCreateRequest(); c != nil {\n\t\t\tc.Filters = nil\n\t\t}",
		differential: true,
	},
	{
		name:         "progress is not passed on",
		file:         "guard/watch.go",
		old:          "if answer.Created || answer.Canceled {\n\t\tw.learn(answer)",
		new:          "if len(answer.Events) == 0 && !answer.Created && !answer.Canceled {\n\t\treturn nil\n\t}\n\tif answer.Created || answer.Canceled {\n\t\tw.learn(answer)",
		differential: true,
	},
	{
		name:         "the last event of a batch is lost",
		file:         "guard/watch.go",
		old:          "if answer.Created || answer.Canceled {\n\t\tw.learn(answer)",
		new:          "if n := len(answer.Events); n > 1 {\n\t\tanswer.Events = answer.Events[:n-1]\n\t}\n\tif answer.Created || answer.Canceled {\n\t\tw.learn(answer)",
		differential: true,
	},

	// Answers.
	{
		name:         "a put's header is lost",
		file:         "guard/guard.go",
		old:          "return g.healthAnswer(answer), nil",
		new:          "if p, ok := answer.(*pb.PutResponse); ok {\n\t\tp.Header = nil\n\t}\n\treturn g.healthAnswer(answer), nil",
		differential: true,
	},
	{
		name:         "a count is lost",
		file:         "guard/guard.go",
		old:          "return g.healthAnswer(answer), nil",
		new:          "if p, ok := answer.(*pb.RangeResponse); ok && p.More {\n\t\tp.Count = int64(len(p.Kvs))\n\t}\n\treturn g.healthAnswer(answer), nil",
		differential: true,
	},
	{
		name:         "an error of etcd is hidden",
		file:         "guard/guard.go",
		old:          "answer, err := g.serve(ctx, r, next)\n",
		new:          "answer, err := g.serve(ctx, r, next)\n\tif err != nil {\n\t\treturn nil, errPermissionDenied\n\t}\n",
		differential: true,
	},
	{
		name: "a guard that is not ready says that it is",
		file: "guard/health.go",
		old:  "return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}",
		new:  "return etcds",
	},
}
