//go:build !linux

package atrest

func huge([]revision) {}
