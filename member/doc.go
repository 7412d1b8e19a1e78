// Package member is etcd with the guard inside it: the real, unmodified server of
// go.etcd.io/etcd/server/v3, started without a client listener of its own, behind a
// gRPC server whose every connection comes through a certs.Door and whose every
// request passes a guard.Guard. It is the only package that imports etcd's server.
//
// It trusts the etcd server, the files that its configuration names, and whoever
// holds the peer port's authority. It promises to take etcd's own flags,
// environment and configuration file with etcd's precedence; to open no client
// door that the guard does not hold; to refuse, before etcd is started, what would
// open one or would destroy data; and to end streams with a reason before it stops.
package member
