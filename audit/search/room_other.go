//go:build !linux

package search

// roomFor can't tell here.
func roomFor(string, int64) bool { return true }
