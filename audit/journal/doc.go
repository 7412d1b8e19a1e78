// Package journal keeps a sequence of lines on a disk: numbered from 0 without a gap,
// in segment files that are text. What the lines say is its owner's matter.
//
// It trusts the file system to keep what fdatasync said is kept, and to give back a
// sector either as it was or as it was written. It promises that
//
//   - a line for which Write returned is there after the process is killed,
//   - a line for which Await returned is there after the power fails,
//   - what is there afterwards is what was appended, whole lines, in order, from the
//     first on: if a line is missing then all after it are, and Open says so,
//   - after a write or a sync failed nothing is accepted until what was not on stable
//     storage is there.
//
// # The form of a segment
//
// A header line, then lines, each ended by a line break. While it is written a segment
// is longer than its text: it was filled with zero bytes and synced before its first
// line, so that appending changes no metadata and fdatasync has only data to write. A
// byte of the file is therefore zero, or what it will always be. That is what lets
// readers look at a segment while it is written, and a crash be seen: the text ends at
// the first zero byte.
package journal
