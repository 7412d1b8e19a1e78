// Package prove gathers evidence that a member is what its operator claims: it
// dials the ports with the wrong certificates, asks for what must be denied, writes
// a canary and looks for it in the bytes on disk.
//
// It trusts nothing that a member says about itself where it can try instead, and
// every attempt that must fail has a control beside it that must work: a member that
// answers nobody is not a safe one. What could not be tried is said, and never counts
// as held.
package prove
