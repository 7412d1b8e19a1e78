// Package load drives one etcd server as hard as 64 clients can and says what
// came back: how many operations, how long each took.
//
// Client and server share the machine's cores, so every cycle that the client
// saves is a cycle that the measured server gets. Requests are therefore
// encoded before the clock starts where they can be, and responses are not
// decoded into structs: a scanner walks the protobuf fields and counts what has
// to be there. Nothing is taken on faith for that: every response is checked for
// the number of keys and bytes that the stored data demands, and Fill reads a
// sample back and compares it byte for byte.
//
// A workload that meets one wrong or failed answer fails as a whole. Figures
// from a server that was answering errors are worth nothing.
package load
