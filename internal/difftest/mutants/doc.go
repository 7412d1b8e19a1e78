// Package mutants plants bugs in etcdguard, one at a time, and shows that each is
// noticed: by a unit test, or by a short differential run. A gate that has never
// been seen to shut is not known to be one.
//
//	go test ./internal/difftest/mutants -mutants -timeout 2h -v
//
// A mutant is a piece of source and what stands there instead. The source tree is
// not touched: the patched file is laid over it (go build -overlay). Without the
// flag the tests only hold that every mutant still fits the source it was written
// for: that its text is there exactly once, and that the result is Go.
package mutants
