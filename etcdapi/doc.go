// Package etcdapi is what etcdguard knows of the etcd v3 API, and nothing
// else: which RPCs exist and what each may touch, how a key and range_end name
// a stretch of the key space, how to walk a Txn, and which bytes of a request
// nobody here understands.
//
// It holds no state, does no I/O and trusts nothing it is given: every function
// takes a message that a client sent. It promises to be complete for etcd 3.7;
// tests compare its tables with the protobuf descriptors of go.etcd.io/etcd/api,
// so that an RPC, a field or a oneof that a later etcd adds fails a test here
// before it reaches a server.
package etcdapi
