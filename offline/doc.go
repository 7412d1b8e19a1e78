// Package offline turns a sealed snapshot, or a copied database file of a member,
// into one that stock etcd restores: values in plaintext, nothing of etcdguard's in
// it, and everything else as it was. No etcd runs, and the file that is read is never
// changed.
//
// It trusts the ring that it is given and nothing in the file: what is damaged, or
// does not open, is an error by name, and no output is left. What it writes is
// plaintext, for its user only (0600), and has no name before it is whole and on the
// disk; so a process that is killed leaves nothing behind.
package offline
