package strictyaml

import (
	"encoding"
	"encoding/base64"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder carries the problems found so far through the tree.
type decoder struct {
	doc      *Document
	problems Problems
}

// path names a place in the file. It is a chain on the stack, made into text only
// for a problem: a large file has millions of places.
type path struct {
	above *path
	name  string // of a field, or "" for
	index int    // a list's item
}

func (p *path) String() string {
	switch {
	case p == nil:
		return ""
	case p.name == "":
		return p.above.String() + "[" + strconv.Itoa(p.index) + "]"
	case p.above == nil:
		return p.name
	default:
		return p.above.String() + "." + p.name
	}
}

func (d *decoder) report(line int, at *path, message, fix string) {
	if len(d.problems) == maxProblems {
		d.problems = append(d.problems, Problem{File: d.doc.file, Message: "there are more problems than are listed", Fix: "correct these first"})
	}
	if len(d.problems) > maxProblems {
		return
	}
	d.problems = append(d.problems, Problem{File: d.doc.file, Line: line, Field: at.String(), Message: message, Fix: fix})
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	bytesType    = reflect.TypeFor[[]byte]()
)

// value reads n into v, and reports what does not fit.
func (d *decoder) value(n *yaml.Node, v reflect.Value, at *path) {
	if !d.plain(n, v, at) {
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if d.scalar(n, at, "text") {
			if err := text.UnmarshalText([]byte(n.Value)); err != nil {
				d.report(n.Line, at, "can't be read: "+err.Error(), "correct it")
			}
		}
		return
	}
	switch {
	case v.Type() == durationType:
		d.duration(n, v, at)
	case v.Type() == bytesType:
		d.bytes(n, v, at)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), at)
	case v.Kind() == reflect.Struct:
		d.mapping(n, v, at)
	case v.Kind() == reflect.Slice:
		d.list(n, v, at)
	case v.Kind() == reflect.String:
		if d.tagged(n, at, "!!str", "text", "put it in quotes") {
			v.SetString(n.Value)
		}
	case v.Kind() == reflect.Bool:
		if d.tagged(n, at, "!!bool", "true or false", "write true or false, without quotes") {
			v.SetBool(strings.EqualFold(n.Value, "true"))
		}
	case v.CanInt():
		d.integer(n, v, at)
	default:
		panic("strictyaml: no rule to read a " + v.Type().String())
	}
}

// plain refuses the parts of YAML that let a line mean something that does not
// stand there.
func (d *decoder) plain(n *yaml.Node, v reflect.Value, at *path) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.report(n.Line, at, "anchors (&) and aliases (*) are not read", "write the value out where it is meant; quote text that begins with & or *")
	case n.ShortTag() == "!!null" && n.Style&yaml.TaggedStyle == 0:
		d.report(n.Line, at, "has no value", "give it one, or remove it")
	case n.Style&yaml.TaggedStyle != 0 && (v.Type() != bytesType || n.ShortTag() != "!!binary"):
		d.report(n.Line, at, "tags (!) are not read", "remove the tag; quote text that begins with !")
	default:
		return true
	}
	return false
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, at *path) {
	if n.Kind != yaml.SequenceNode {
		fix := "put each item on a line of its own after \"- \""
		if n.Kind == yaml.ScalarNode {
			fix = "put it in brackets: [ ]"
		}
		d.report(n.Line, at, "wants a list", fix)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.value(item, v.Index(i), &path{above: at, index: i})
	}
}

func (d *decoder) scalar(n *yaml.Node, at *path, want string) bool {
	if n.Kind == yaml.ScalarNode {
		return true
	}
	d.report(n.Line, at, "wants "+want+", and this is a "+kindName(n), "give it a single value")
	return false
}

func (d *decoder) tagged(n *yaml.Node, at *path, tag, want, fix string) bool {
	if !d.scalar(n, at, want) {
		return false
	}
	if n.ShortTag() != tag {
		d.report(n.Line, at, "wants "+want+", and this reads as "+tagName(n.ShortTag()), fix)
		return false
	}
	return true
}

// integer takes decimals only: 010 and 0x10 mean different numbers to different
// readers of YAML.
func (d *decoder) integer(n *yaml.Node, v reflect.Value, at *path) {
	const want = "a whole number"
	if !d.tagged(n, at, "!!int", want, "write it in decimals, without quotes, unit or fraction") {
		return
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	switch {
	case err != nil || len(n.Value) > 1 && strings.TrimLeft(n.Value, "+-")[0] == '0' && i != 0:
		d.report(n.Line, at, "wants "+want+" that fits 64 bits", "write it in decimals, without leading zeros or _")
	case v.OverflowInt(i):
		d.report(n.Line, at, fmt.Sprintf("is too large for %d bits", v.Type().Bits()), "write a smaller number")
	default:
		v.SetInt(i)
	}
}

func (d *decoder) duration(n *yaml.Node, v reflect.Value, at *path) {
	const fix = "write a number with its unit, such as 90s or 4m30s"
	if !d.tagged(n, at, "!!str", "a duration", fix) {
		return
	}
	t, err := time.ParseDuration(n.Value)
	if err != nil {
		d.report(n.Line, at, "wants a duration", fix)
		return
	}
	v.SetInt(int64(t))
}

func (d *decoder) bytes(n *yaml.Node, v reflect.Value, at *path) {
	if n.ShortTag() != "!!binary" {
		if d.tagged(n, at, "!!str", "text", "put it in quotes") {
			v.SetBytes([]byte(n.Value))
		}
		return
	}
	if !d.scalar(n, at, "base64") {
		return
	}
	b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
	if err != nil {
		d.report(n.Line, at, "is not base64", "encode the bytes with base64, padding included")
		return
	}
	v.SetBytes(b)
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "group of fields"
	case yaml.SequenceNode:
		return "list"
	default:
		return "single value"
	}
}

func tagName(tag string) string {
	switch tag {
	case "!!int":
		return "a number"
	case "!!float":
		return "a fraction"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	case "!!str":
		return "text"
	default:
		return "something else"
	}
}
