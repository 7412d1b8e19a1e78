// Package rooms holds the shape of the repository: which package may import which.
// It has no code but its test. The arrows point one way, from the command line to
// what knows nothing but bytes, so that each room can be read, tested and trusted
// without those above it.
package rooms
