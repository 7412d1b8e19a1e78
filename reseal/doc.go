// Package reseal walks the values that are stored and brings them into the form that
// is wanted: sealed under the active data key, or back in plaintext. It counts them,
// says beforehand what rewriting them costs, rewrites them one by one while clients go
// on, finds what a data key is still needed for, and moves values that do not open out
// of the way.
//
// It keeps no state. What is left to do is what is stored in another form, so whoever
// runs it again after a crash goes on where it ended; several may run at once.
//
// It trusts the ring for what is sealed how, and etcd for comparing a revision and
// writing in one step. It promises that a value is replaced only by itself in another
// form, at the revision at which it was read, with the lease that it had.
package reseal
