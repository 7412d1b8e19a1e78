package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxBytes is far above any real policy: 100,000 rules are about 12 MB.
	maxBytes = 64 << 20
	// maxIndicators bounds the memory of the syntax tree, which costs a few hundred
	// bytes for each byte of "[[[[[[": every node needs an indicator or a line.
	maxIndicators = 8 << 20
	// maxProblems bounds the memory of the report.
	maxProblems = 1000
)

// Decode reads data, the contents of file, into the struct that v points to.
// Fields carry the tag `yaml:"name"`, or `yaml:"name,required"`. Known types are
// structs, slices and pointers of them, string, bool, integers, time.Duration,
// encoding.TextUnmarshaler, and []byte (text, or base64 under the tag !!binary).
//
// The error is of type Problems. Where the file is YAML at all, the Document is
// returned next to an error as well, and v holds what could be read, so that a
// caller can add what it finds wrong itself.
func Decode(file string, data []byte, v any) (*Document, error) {
	root, problem := parse(data)
	if problem != nil {
		problem.File = file
		return nil, Problems{*problem}
	}
	doc := &Document{file: file, root: root}
	d := &decoder{doc: doc}
	d.value(root, reflect.ValueOf(v).Elem(), nil)
	if len(d.problems) == 0 {
		return doc, nil
	}
	d.problems.Sort()
	return doc, d.problems
}

// parse makes the syntax tree of the only document in data.
func parse(data []byte) (root *yaml.Node, problem *Problem) {
	if problem := oversize(data); problem != nil {
		return nil, problem
	}
	// A member reloads its policy while it serves: a defect of the parser on an
	// operator's file must not take it down.
	defer func() {
		if r := recover(); r != nil {
			root, problem = nil, &Problem{Message: "the YAML parser failed on this file", Fix: "simplify it and report the defect"}
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, &Problem{Message: "the file is empty", Fix: "write it, or name another file"}
	case err != nil:
		return nil, syntax(err)
	}
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, &Problem{Line: second.Line, Message: "a second document begins here, and only one is read",
			Fix: "remove the line \"---\" or split the file"}
	case !errors.Is(err, io.EOF):
		return nil, syntax(err)
	}
	return doc.Content[0], nil
}

func oversize(data []byte) *Problem {
	if len(data) > maxBytes {
		return &Problem{Message: fmt.Sprintf("the file has %d bytes and %d are read at most", len(data), maxBytes), Fix: "make it smaller"}
	}
	indicators := 0
	for _, b := range data {
		switch b {
		case '\n', '\r', '-', ':', ',', '?', '[', '{':
			indicators++
		}
	}
	if indicators > maxIndicators {
		return &Problem{Message: fmt.Sprintf("the file has too much structure: %d lines and indicators, and %d are read at most", indicators, maxIndicators),
			Fix: "make it smaller"}
	}
	if i := firstInvalidUTF8(data); i >= 0 {
		return &Problem{Line: 1 + bytes.Count(data[:i], []byte{'\n'}), Message: "the file is not UTF-8 here",
			Fix: "write bytes that are not text in base64 after the tag !!binary"}
	}
	return nil
}

func firstInvalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

var lineOf = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// syntax turns the parser's error, which names a line in its text, into a Problem.
func syntax(failure error) *Problem {
	m := lineOf.FindStringSubmatch(strings.ReplaceAll(failure.Error(), "\n", " "))
	line, err := strconv.Atoi(m[1])
	if err != nil {
		line = 1 // where the parser leaves the line out
	}
	return &Problem{Line: line, Message: "this is not YAML: " + m[2],
		Fix: "check indentation, quotes and brackets here and on the lines above"}
}
