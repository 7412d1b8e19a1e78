// Package drills is tests alone: what an operator does on a bad day, done on three
// members with the real programs. Each drill ends with a ledger that the client kept
// outside, with the raw files of every member, and most of them with a kube-apiserver
// that serves what was there before.
package drills
