// Package seal is the format of a sealed value, and nothing else: what bytes stand
// in etcd for a value, how they are made from it with a data key, and how the value
// is had back. It holds no state and knows no etcd; docs/design/06-sealed-values.md
// describes the format byte by byte.
package seal
