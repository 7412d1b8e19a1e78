// Package atrest says in what form values lie on the disk of an etcd member, or in
// any copy of its files, without a key and without showing a value.
//
// It reads the bytes themselves and trusts none of them: bbolt files page by page
// (pages in use, free ones and what lies beyond the last one), write-ahead logs record
// by record, raft snapshots, and the bytes between and behind all that, where old
// values remain. Every length is checked against what is there before it is used,
// and no file makes it take more than a fixed amount of memory.
//
// It promises: files are opened for reading only and never locked; a value's bytes
// never leave the package; what could not be looked at is part of the report. It does
// not promise that no plaintext is left where it cannot look: the device below the
// file system, swap, other files.
//
// The formats are bbolt's (package bbolt, file version 2), etcd's write-ahead log
// (server/storage/wal) and snapshot files (server/etcdserver/api/snap) as etcd 3.4 to
// 3.7 write them on little-endian machines.
package atrest
