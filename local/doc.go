// Package local runs a cluster on this machine: etcdguard up, down, env, status.
//
// It is for the first five minutes, for development and for tests, and it is
// what an operator would do by hand: it makes two authorities, writes the
// configuration files of each member, and starts `etcdguard member` on them as
// detached processes of the same binary. Nothing in a member knows about it.
//
// It trusts whoever owns the cluster's directory: the keys of both authorities
// are in it.
//
// It promises:
//   - What is there is derived from the files and from kernel locks, never from
//     a progress file. Killed at any point and run again, up finishes.
//   - No process is signalled because of a number in a file: a member holds a
//     lock on its pid file for as long as it lives.
//   - A file that an operator may edit (policy.yaml, etcd.yaml, guard.yaml) is
//     written once and then left alone.
//   - What up says is protected was tried just now, against every member, each
//     refusal beside a request that the same port answered.
package local
