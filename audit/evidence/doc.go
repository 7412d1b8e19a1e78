// Package evidence is why an audit log can't be rewritten quietly: the Merkle tree of
// its events, the checkpoints that a member signs, what the members have seen of each
// other's logs, and the verification of all that by somebody who has no secret.
//
// It trusts SHA-256 and Ed25519, and the verifier keys that an operator hands it. It
// doesn't trust the directory that it verifies: not the lines, the headers, the hashes
// beside the segments, nor the keys in it, where the operator gave one.
//
// It promises that a log which verifies holds every event that was in it when a
// checkpoint was signed, in its order, byte for byte; and that two histories which a
// witness was shown don't both verify against it. It can't promise more of the newest
// events than somebody has seen: whoever owns a node can leave those away that have
// left it nowhere. The report says up to which event that is.
//
// Hashes and proofs are RFC 6962's, checkpoints C2SP's tlog-checkpoint, signatures its
// signed-note. docs/design/10-audit-log.md has the format.
package evidence
