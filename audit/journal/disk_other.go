//go:build !linux

package journal

import "math"

func (f osFile) Datasync() error { return f.Sync() }

// Space is not known here: MaxBytes alone bounds the journal.
func (d dirDisk) Space() (free, total int64, err error) { return math.MaxInt64, math.MaxInt64, nil }

func (d dirDisk) Background() {}
