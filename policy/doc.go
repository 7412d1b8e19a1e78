// Package policy says who may do what to etcd: deny by default, and rules that
// allow. It knows nothing of gRPC, TLS handshakes or etcd's server, and keeps no
// state but what a file said, so that a decision depends on its arguments alone.
//
// It trusts its caller to have verified the certificate behind a Caller, to have
// found every Action that a request takes (nested transactions, compares, previous
// values), and to have normalised each Range. It promises that what no rule
// allows, or what it does not understand, is denied; that a range is allowed only
// where every key in it is; that no rule reaches the reserved keys, whatever it
// says; that a file with any mistake is no Policy; and that a decision neither
// allocates nor slows down with the number of rules.
package policy
