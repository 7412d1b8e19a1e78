// Package control is etcdguard's own administration: what an operator asks a member to
// do about sealing, as JSON over HTTP/1.1 on the client port, below
// etcdapi.AdminPrefix.
//
// Its handler trusts the guard before it for who may call it, and decides nothing
// about rights. It takes requests strictly, refuses what a browser could be made to
// send, and shows names of keys but never a value, nor a data key in the clear. Long
// calls answer with one JSON object a line, end with a result or an error, and stop
// when their caller goes; each can be made again and goes on from what is stored.
package control
