// Package guard is the request path: everything that a client asks of etcd passes
// Guard.Unary or Guard.Stream, and through them the stages in stages.go, in that
// order. What lies behind is only reached by the call to next at their end.
//
// It trusts the certificates that package certs verified, the policy in force and
// the etcd server behind it. It promises that a request which it does not fully
// understand, or which no rule allows, does not reach etcd; that what reaches etcd
// and what comes back mean what they mean without a guard; and that every decision
// is counted, and every denial named, with its caller, action, range and the rule
// that would allow it, in the server's log.
package guard
