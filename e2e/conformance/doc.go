// Command conformance runs etcd's own end-to-end suites, compiled from the module
// that etcd publishes, with etcdguard as the program that they know as "etcd", and
// compares test by test with what stock etcd made of them:
//
//	go run ./conformance -suite ci
//
// Where etcdguard differs on purpose, differences.yaml says why, which promise of
// the design demands it, and what the test prints then. Any other difference fails
// the run, and so does an entry that no longer differs: the list stays true.
//
// It trusts the suites, and baseline.json, which `-stock -record` wrote: what stock
// fails or skips is asked of nobody. It promises that no test of a suite is passed
// over in silence (each belongs to a part, or is left out by name), that the guard
// works while it runs (a policy that allows everybody everything, and the unsafe
// options for the half of the suites that knows no TLS), and that it leaves no
// process behind.
package main
