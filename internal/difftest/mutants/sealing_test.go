package mutants

// plantedInSealing are bugs on the way of values.
var plantedInSealing = []mutant{
	{
		name: "a put is not sealed",
		file: "guard/values.go",
		old:  "m.Value = sealed\n\treturn nil",
		new:  "_ = sealed\n\treturn nil", sealed: true,
	},
	{
		name: "puts in a Txn are not sealed",
		file: "guard/txn.go",
		old:  "err = g.sealPut(w, r.RequestPut)",
		new:  "_ = r.RequestPut", sealed: true,
	},
	{
		name: "puts in a nested Txn are not sealed",
		file: "guard/txn.go",
		old:  "err = g.sealTxn(w, r.RequestTxn)",
		new:  "_ = r.RequestTxn", sealed: true,
	},
	{
		name: "puts in the second branch are not sealed",
		file: "guard/txn.go",
		old:  "for _, branch := range [...][]*pb.RequestOp{m.Success, m.Failure} {",
		new:  "for _, branch := range [...][]*pb.RequestOp{m.Success} {", sealed: true,
	},
	{
		name: "a sealed value is bound to no name",
		file: "guard/values.go",
		old:  "w.Seal(m.Key, m.Value)",
		new:  "w.Seal(nil, m.Value)", sealed: true,
	},
	{
		name: "an empty value is not sealed",
		file: "guard/values.go",
		old:  "if m.IgnoreValue || len(m.Key) == 0 {",
		new:  "if len(m.Value) == 0 || len(m.Key) == 0 {", sealed: true,
	},
	{
		name: "answers of a nested Txn are not opened",
		file: "guard/txn.go",
		old:  "return g.openTxn(op.GetRequestTxn(), a.ResponseTxn, sorted)",
		new:  "return nil", sealed: true,
	},
	{
		name: "the previous value of a put is not opened",
		file: "guard/values.go",
		old:  "a.PrevKv != nil {",
		new:  "a.PrevKv == nil {", sealed: true,
	},
	{
		name: "the previous value of a put in a Txn is not opened",
		file: "guard/txn.go",
		old:  "prev != nil {",
		new:  "prev != nil && prev.Version < 0 {", sealed: true,
	},
	{
		name: "previous values of a delete are not opened",
		file: "guard/values.go",
		old:  "err = carriedOut(g.openAll(a.PrevKvs))",
		new:  "_ = a.PrevKvs", sealed: true,
	},
	{
		name: "keys alone are opened",
		file: "guard/values.go",
		old:  "ok && err == nil && !m.KeysOnly {",
		new:  "ok && err == nil {", sealed: true,
	},
	{
		name: "keys alone are opened in a Txn",
		file: "guard/txn.go",
		old:  "if !r.GetKeysOnly() {",
		new:  "if r != nil {", sealed: true,
	},
	{
		name: "chunks of a stream are not opened",
		file: "guard/rangestream.go",
		old:  "if !s.keysOnly {",
		new:  "if s.keysOnly {", sealed: true,
	},
	{
		name: "chunks are ordered by what is stored",
		file: "guard/rangestream.go",
		old:  "s.guard.ring.Phase() != keyring.Off && sortsChunks(r)",
		new:  "s.guard.ring.Phase() > keyring.Strict && sortsChunks(r)",
	},

	// Compares on VALUE.
	{
		name: "etcd compares what is stored",
		file: "guard/txn.go",
		old:  "if len(byValue) > 0 {\n\t\tanswer",
		new:  "if len(byValue) > 1<<20 {\n\t\tanswer", sealed: true,
	},
	{
		name: "a key that is not there differs from every value",
		file: "etcdapi/valuecompare.go",
		old:  "return len(kvs) > 0\n",
		new:  "return len(kvs) > 0 || c.Result == pb.Compare_NOT_EQUAL\n", sealed: true,
	},
	{
		name: "a range is compared by its first key",
		file: "etcdapi/valuecompare.go",
		old:  "for _, kv := range kvs {\n\t\tif !holds(c.Result, bytes.Compare(kv.Value, want)) {",
		new:  "for _, kv := range kvs[:min(1, len(kvs))] {\n\t\tif !holds(c.Result, bytes.Compare(kv.Value, want)) {", sealed: true,
	},
	{
		name: "outcomes of nested compares are mixed up",
		file: "etcdapi/valuecompare.go",
		old:  "settled.Success, outcomes = settledOps(t.Success, outcomes)",
		new:  "settled.Success, _ = settledOps(t.Success, outcomes)", sealed: true,
	},
	{
		name: "the header of a Txn that compares by value is lost",
		file: "guard/compare.go",
		old:  "inner.Header = done.Header",
		new:  "_ = done.Header", sealed: true,
	},
	{
		name: "of several mistakes another one is named",
		file: "guard/compare.go",
		old:  "read, err := txn(ctx, &pb.TxnRequest{Success: c.reads}, next)\n\tif err != nil {\n\t\treturn nil, c.refused(ctx, err, next)",
		new:  "read, err := txn(ctx, &pb.TxnRequest{Success: c.reads}, next)\n\tif err != nil {\n\t\treturn nil, err",
	},
	{
		name: "what was compared may have changed",
		file: "etcdapi/valuecompare.go",
		old:  "mod(kv.Key, nil, pb.Compare_EQUAL, kv.ModRevision)",
		new:  "_ = kv.ModRevision",
	},
	{
		name: "a key that came into a compared range is overlooked",
		file: "etcdapi/valuecompare.go",
		old:  "pb.Compare_LESS, revision+1)",
		new:  "pb.Compare_LESS, revision+1<<40)",
	},
	{
		name: "a value beside a compare on something else goes into the log",
		file: "guard/txn.go",
		old:  "etcdapi.DropStrayValues(m)",
		new:  "_ = etcdapi.DropStrayValues", sealed: true,
	},
	{
		name: "a Txn that reads goes through the log",
		file: "guard/compare.go",
		old:  "readOnly: etcdapi.ReadsOnly(m)",
		new:  "readOnly: etcdapi.ReadsOnly(m) && false",
	},

	// Orders by VALUE.
	{
		name: "etcd orders what is stored",
		file: "guard/sort.go",
		old:  "return known && etcdapi.SortsByValue(m)",
		new:  "return !known && etcdapi.SortsByValue(m)", sealed: true,
	},
	{
		name: "the limit is forgotten when values are in order",
		file: "etcdapi/valuesort.go",
		old:  "a.More = r.Limit > 0 && int64(len(a.Kvs)) > r.Limit",
		new:  "a.More = false", sealed: true,
	},
	{
		name: "without a direction everything is ordered",
		file: "etcdapi/valuesort.go",
		old:  "all.Limit = r.Limit + 1",
		new:  "all.Limit = most", sealed: true,
	},
	{
		name: "every order is ascending",
		file: "etcdapi/valuesort.go",
		old:  "if r.SortOrder == pb.RangeRequest_DESCEND {",
		new:  "if r.SortOrder > pb.RangeRequest_DESCEND {", sealed: true,
	},
	{
		name: "values are shown where only keys were asked for",
		file: "etcdapi/valuesort.go",
		old:  "if r.KeysOnly {",
		new:  "if r.KeysOnly && r.CountOnly {", sealed: true,
	},
	{
		name: "a Txn is carried out although its answer is too much to order",
		file: "guard/sort.go",
		old:  "if keys += n; keys > sortedKeys {",
		new:  "if keys += n; keys < 0 {",
	},

	// Limits.
	{
		name: "a request is held against the server's limit",
		file: "guard/limits.go",
		old:  "etcdapi.EntryBytes(m, g.etcd.EntryHeader(ctx)) > most {",
		new:  "etcdapi.EntryBytes(m, g.etcd.EntryHeader(ctx)) > most+1 {",
	},
	{
		name: "a Txn may have as many operations as the server takes",
		file: "guard/limits.go",
		old:  "etcdapi.ExceedsTxnOps(t, g.limits.TxnOps) {",
		new:  "etcdapi.ExceedsTxnOps(t, 1+g.limits.TxnOps) {",
	},
}
