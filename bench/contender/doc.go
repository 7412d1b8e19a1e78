// Package contender runs the servers that the benchmark compares: each a real
// process on loopback, a cluster of one member, with mutual TLS on its client
// and peer ports, all from the same throw-away certificates.
//
// A contender that is not under load is stopped with SIGSTOP. An idle etcd still
// ticks, commits and collects garbage; on two cores that would be charged to
// whoever is measured. One member has nobody to lose an election to, so it wakes
// up as the leader that it was.
//
// It reads /proc, so it works on Linux only.
package contender
