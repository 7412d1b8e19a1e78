// Package audit is the record of who did what: events, and the log that a member
// writes them to.
//
// It promises that an intent is in the log before etcd is asked and on stable storage
// before the answer leaves, that nothing is dropped without an event that says so, and
// that no event holds a value, a token or a password: there is no field for one. It
// trusts the clock, the disk to keep what fdatasync was told of, and whoever hands it
// events to hand it all of them; guard does, in one place.
//
// docs/design/10-audit-log.md has the format.
package audit
