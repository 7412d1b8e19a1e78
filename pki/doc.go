// Package pki makes the certificates of a cluster: authorities, and the leaves
// that an authority signs for servers, peers and clients.
//
// It is for whoever sets up or renews a cluster. It trusts the operating
// system's random source and the directory it is told to write to; it never
// sends anything anywhere.
//
// It promises:
//   - Authorities for clients and for peers are separate things. Nothing here
//     signs a peer's leaf with a client authority or the other way round: where
//     one CA serves both ports, any client certificate can speak raft (etcd
//     issue 8262), so Issue refuses it.
//   - A leaf can do one job. A server's certificate is no client certificate, a
//     client's no server certificate; only a peer's is both, as raft needs.
//   - A leaf for a server or a peer names at least one host: etcd accepts a peer
//     certificate without SAN from anywhere.
//   - Private keys reach the disk with mode 0600 and whole or not at all.
package pki
