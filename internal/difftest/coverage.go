package difftest

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// coverage counts what a run sent and got, by the names of the descriptors.
type coverage struct {
	requests  map[string]int // "KV.Txn etcdserverpb.Compare.lease", with "=LESS" for enum values
	responses map[string]int
	outcomes  map[string]int // "KV.Put OK", "KV.Put error"
	texts     map[string]int // "InvalidArgument etcdserver: key is not provided"
	shapes    map[string]int // see shapes
}

func newCoverage() *coverage {
	return &coverage{map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}}
}

func (c *coverage) request(rpc string, m proto.Message)  { count(c.requests, rpc, m.ProtoReflect()) }
func (c *coverage) response(rpc string, m proto.Message) { count(c.responses, rpc, m.ProtoReflect()) }

func (c *coverage) answer(rpc string, a answer) {
	if a.err.Code() == codes.OK {
		c.outcomes[rpc+" OK"]++
	} else {
		c.outcomes[rpc+" error"]++
		c.texts[a.err.Code().String()+" "+a.err.Message()]++
	}
	for _, m := range a.msgs {
		c.response(rpc, m)
	}
}

// met takes what a request and its answer were about.
func (c *coverage) met(rpc string, m proto.Message, a answer) {
	for _, s := range shapes(rpc, m, a) {
		c.shapes[s]++
	}
}

// count takes the set fields of m. A oneof arm counts as set even when its own
// value is the default; an enum counts by value.
func count(into map[string]int, rpc string, m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := rpc + " " + string(f.FullName())
		into[name]++
		switch {
		case f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				countValue(into, rpc, name, f, v.List().Get(i))
			}
		default:
			countValue(into, rpc, name, f, v)
		}
		return true
	})
}

func countValue(into map[string]int, rpc, name string, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		count(into, rpc, v.Message())
	case protoreflect.EnumKind:
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
			into[name+"="+string(d.Name())]++
		} else {
			into[name+"=unknown"]++
		}
	}
}

// fieldsOf lists what count can count of a message type. The default value of an
// enum outside a list or oneof can't be seen on the wire and is left out.
func fieldsOf(rpc string, d protoreflect.MessageDescriptor) []string {
	var out []string
	seen := map[protoreflect.FullName]bool{}
	var visit func(protoreflect.MessageDescriptor)
	visit = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			name := rpc + " " + string(f.FullName())
			out = append(out, name)
			switch {
			case f.IsMap():
			case f.Kind() == protoreflect.MessageKind:
				visit(f.Message())
			case f.Kind() == protoreflect.EnumKind:
				for j := range f.Enum().Values().Len() {
					v := f.Enum().Values().Get(j)
					if v.Number() != 0 || f.IsList() {
						out = append(out, name+"="+string(v.Name()))
					}
				}
			}
		}
	}
	visit(d)
	return out
}

// gaps is everything that the descriptors know and the run has not seen, except
// what can't be had.
func (c *coverage) gaps() []string {
	var gaps []string
	missing := func(have map[string]int, what, name string) {
		if have[name] == 0 && unreachable[name] == "" {
			gaps = append(gaps, what+" "+name)
		}
	}
	for _, rpc := range methodNames {
		for _, f := range fieldsOf(rpc, methods[rpc].desc.Input()) {
			missing(c.requests, "request field", f)
		}
		for _, f := range fieldsOf(rpc, methods[rpc].desc.Output()) {
			missing(c.responses, "response field", f)
		}
		if rpc == "Watch.Watch" {
			continue // a stream that the client ends; its errors are control answers
		}
		missing(c.outcomes, "outcome", rpc+" OK")
		missing(c.outcomes, "outcome", rpc+" error")
	}
	for _, text := range wantErrors {
		missing(c.texts, "error", text)
	}
	for _, shape := range wantShapes {
		missing(c.shapes, "shape", shape)
	}
	return gaps
}

func (c *coverage) summary() string {
	return fmt.Sprintf("%d RPCs with %d request fields and values, %d kinds of error", len(methodNames), len(c.requests), len(c.texts))
}

// top is the error texts seen, most frequent first, for a person who tunes the
// generator.
func (c *coverage) top() string {
	texts := make([]string, 0, len(c.texts))
	for t, n := range c.texts {
		texts = append(texts, fmt.Sprintf("%7d %s", n, t))
	}
	slices.Sort(texts)
	slices.Reverse(texts)
	return strings.Join(texts, "\n")
}
