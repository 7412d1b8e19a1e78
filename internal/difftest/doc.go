// Package difftest sends the same random requests to two etcds and requires the
// same answers: to stock etcd, which is right by definition, and to a guarded
// member, which promises to change nothing but what its design says.
//
// It supports tests and is linked into nothing else. It trusts the first target
// and nothing of the second.
//
// # What is sent
//
// Every RPC of etcd's services and of gRPC health, with every field, every oneof
// arm and every enum value, over a small universe of keys, so that requests meet:
// reads at revisions that are past, compacted and still to come; Txns nested three
// deep with both branches taken; malformed ones; requests around every limit; watch
// streams with several watchers; users, roles and tokens while etcd's own
// authorisation is on; raised alarms; learners. Coverage is counted over the
// protobuf descriptors and asserted, with the exceptions and their reasons in one
// table. A run consists of epochs of 500 requests, each with a seed and an empty
// store of its own, so that what a report names can be replayed alone.
//
// Values are few, so that compares on VALUE hit and orders by VALUE tie, and most begin
// with Marker: who stores other bytes than it was sent can be searched for it. Where
// values travel is counted, too, and asserted (wantShapes).
//
// Three things are left out. Keys that start with \x00 belong to the guard; only
// ranges that start at \x00 and go on beyond are asked for. Nothing is sent that
// would harm a stock etcd: shapes of Txn that it mishandles (see writes), voting
// members, a downgrade that begins. And Lock and Election, which the guard does not
// serve.
//
// # What is compared
//
// One request is out at a time. Status code, text and details are equal to the
// letter, and so is every field of every message, except, by the table in rules.go:
//
//   - cluster and member IDs and the members' own addresses, which are mapped;
//   - revisions, where the second etcd has written for itself (Options.OwnWrites):
//     they are mapped write by write, exactly;
//   - lease IDs that the servers chose, mapped; remaining times to live, which must be
//     near; leases that end during the run are not looked at;
//   - raft terms and indexes, database sizes and tokens, which must be there;
//   - hashes, which are equal only while the stored bytes are: then they must be;
//   - the bytes of a snapshot, which must be whole by its own digest.
//
// # Watch streams
//
// etcd cuts events into responses as time has it, so responses are not compared one
// by one. Compared are: the created and canceled answers of a stream, in order and
// with every field; and for each watcher the sequence of its events, with prev_kv.
//
// Each side is also held by itself to what etcd promises: events of a watcher come
// in the order of their revisions, none twice; a revision is not torn over two
// responses, unless in fragments that were asked for; after a progress response no
// event comes that it covered; nothing is said of a watcher before it is created or
// after it was canceled. The comparison is made at barriers, when both sides have
// announced progress up to the newest revision: that they announce it is part of it.
package difftest
