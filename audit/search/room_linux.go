package search

import "syscall"

// roomFor reports whether a file of so many bytes fits, and leaves ten times as much
// and a gibibyte: indexes are a convenience, on a disk that an etcd may need.
func roomFor(dir string, bytes int64) bool {
	var fs syscall.Statfs_t
	if syscall.Statfs(dir, &fs) != nil {
		return false
	}
	return int64(fs.Bavail)*int64(fs.Bsize) >= 11*bytes+1<<30
}
