package strictyaml

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document remembers where each field of a decoded file stood, so that whoever
// judges what the fields mean can name lines too. It holds the whole syntax tree:
// drop it when the judging is done.
type Document struct {
	file string
	root *yaml.Node
}

// Line is where the field stands, or the nearest part of its path that is there:
// a field that is missing is reported at what should hold it.
func (d *Document) Line(field string) int {
	n, line := d.root, d.root.Line
	for _, step := range steps(field) {
		if index, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode {
			if index < 0 || index >= len(n.Content) {
				return line
			}
			n = n.Content[index]
			line = n.Line
			continue
		}
		key, value := lookup(n, step)
		if key == nil {
			return line
		}
		n, line = value, key.Line
	}
	return line
}

// Problem is a problem with the field, at its line.
func (d *Document) Problem(field, message, fix string) Problem {
	return Problem{File: d.file, Line: d.Line(field), Field: field, Message: message, Fix: fix}
}

// steps splits "rules[3].keys[0]" into "rules", "3", "keys", "0".
func steps(field string) []string {
	return strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

func lookup(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}
