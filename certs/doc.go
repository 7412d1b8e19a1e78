// Package certs is live TLS for the client port: the certificates, authorities
// and revocations in force, their reload while clients are connected, and the
// open connections they let in.
//
// It trusts the files it is pointed at and nothing that comes over the wire. It
// promises three things. Whoever gets a connection from a Door has completed a
// handshake under one Generation of that trust, or, where the operator asked for
// plaintext, is marked as nobody. A reload that fails leaves the old Generation in
// force. Connections and resumed sessions do not outlive the trust that they were
// made under: a new Generation has new ticket keys, and Door.Sweep closes what it
// would no longer let in.
package certs
