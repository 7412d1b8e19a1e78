package strictyaml

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// field is one field of a struct that a mapping can be read into.
type field struct {
	name     string
	index    int
	required bool
}

var fieldsByType sync.Map // reflect.Type → []field

func fieldsOf(t reflect.Type) []field {
	if cached, ok := fieldsByType.Load(t); ok {
		return cached.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		if name == "" || option != "" && option != "required" {
			panic(fmt.Sprintf("strictyaml: %v.%s needs a tag: `yaml:\"name\"` or `yaml:\"name,required\"`", t, t.Field(i).Name))
		}
		fields = append(fields, field{name: name, index: i, required: option == "required"})
	}
	fieldsByType.Store(t, fields)
	return fields
}

func names(fields []field) []string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i] = f.name
	}
	return all
}

// mapping reads the fields of a group. A field that is probably a misspelling of
// another is reported once, not again as the other one missing.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, at *path) {
	fields := fieldsOf(v.Type())
	if n.Kind != yaml.MappingNode {
		d.report(n.Line, at, "wants a group of fields, and this is a "+kindName(n), "write some of: "+strings.Join(names(fields), ", "))
		return
	}
	var seen [32]int // line of each field, by position
	if len(fields) > len(seen) {
		panic("strictyaml: too many fields in " + v.Type().String())
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, content := n.Content[i], n.Content[i+1]
		f := position(fields, key)
		if f < 0 {
			d.unknown(key, fields, &seen, at)
			continue
		}
		here := &path{above: at, name: fields[f].name}
		if seen[f] > 0 {
			d.report(key.Line, here, fmt.Sprintf("is given twice, first on line %d", seen[f]), "remove one of them")
			continue
		}
		seen[f] = key.Line
		d.value(content, v.Field(fields[f].index), here)
	}
	for i, f := range fields {
		if f.required && seen[i] == 0 {
			d.report(n.Line, &path{above: at, name: f.name}, "is missing", "add it")
		}
	}
}

func position(fields []field, key *yaml.Node) int {
	if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || key.Anchor != "" {
		return -1
	}
	for i, f := range fields {
		if f.name == key.Value {
			return i
		}
	}
	return -1
}

func (d *decoder) unknown(key *yaml.Node, fields []field, seen *[32]int, at *path) {
	if key.Kind != yaml.ScalarNode {
		d.report(key.Line, at, "has a field without a name", "write some of: "+strings.Join(names(fields), ", "))
		return
	}
	if key.ShortTag() == "!!merge" {
		d.report(key.Line, at, "merge keys (<<) are not read", "write the fields out")
		return
	}
	name, known := key.Value, names(fields)
	for i, f := range fields {
		if seen[i] == 0 && f.name == Nearest(name, known) {
			seen[i] = -1
		}
	}
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || name == "" {
		name = quoted // a line break in a name must not make a line of a log
	}
	d.report(key.Line, &path{above: at, name: name}, "is not a field here",
		didYouMean(key.Value, known, "write some of: "+strings.Join(known, ", ")))
}
