// Package codec turns etcd's messages into the bytes that gRPC sends. They are the
// bytes that protobuf would make; what differs is how often values are copied on the
// way: a value goes into the list of buffers that gRPC writes as it lies in memory,
// and the events of a watch are encoded once for all the watchers that get them.
//
// It trusts that nobody changes a message after it was handed to gRPC, as gRPC
// itself does. It knows no keys, no callers and no policy.
package codec
