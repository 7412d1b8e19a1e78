package member

import "syscall"

// keepPrivate has every file that this process makes be its owner's alone: etcd writes
// its raft snapshots readable for all, and counts on the directory.
func keepPrivate() { syscall.Umask(0o077) }
