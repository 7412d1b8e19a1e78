// Package strictyaml reads a YAML file into a Go struct and accepts nothing that
// it does not understand. A configuration that is misread is worse than one that
// is refused: a misspelt field would silently leave a door open.
//
// It trusts neither the file's size nor its shape: bytes, nodes and problems are
// bounded, and anchors, aliases, merge keys and tags are refused, because what a
// policy says must be readable where it stands. It promises to report every
// problem it can find at once, each with its line, its field and the fix, and to
// put no value of the file into a message, since some values are secret.
package strictyaml
