// Command conformance runs tests that others wrote with etcdguard as the program that
// they know as "etcd", and compares test by test with what stock etcd made of them:
// etcd's own end-to-end suites, and the integration tests of Kubernetes that are about
// Secrets and about encryption at rest. They are compiled from the modules that their
// authors publish.
//
//	go run ./conformance -suite ci
//	go run ./conformance -suite kubernetes
//
// Where etcdguard differs on purpose, a file beside this one (differences.yaml,
// kubernetes-differences.yaml) says why, which promise of
// the design demands it, and what the test prints then. Any other difference fails
// the run, and so does an entry that no longer differs: the list stays true.
//
// It trusts the suites, and the baseline (baseline.json, kubernetes.json), which
// `-stock -record` wrote: what stock
// fails or skips is asked of nobody. It promises that no test of a suite is passed
// over in silence (each belongs to a part, or is left out by name), that the guard
// works while it runs (a policy that allows everybody everything, and the unsafe
// options for the half of the suites that knows no TLS), and that it leaves no
// process behind.
package main
