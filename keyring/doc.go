// Package keyring has the data keys of a cluster: which there are, how they are
// wrapped, in what phase sealing is, and what all of that means for a request on this
// member now.
//
// Ring is the request path's side: it seals, opens, and says whether this member may
// write. What moves a ring from one state to the next is behind it.
package keyring
