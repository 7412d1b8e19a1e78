package difftest

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// show prints a message for a report: every set field, long bytes by their
// length and digest, and nothing that is a password or a token.
func show(m proto.Message) string {
	var b strings.Builder
	showMessage(&b, m.ProtoReflect())
	return b.String()
}

func showMessage(b *strings.Builder, m protoreflect.Message) {
	b.WriteString("{")
	first := true
	fields := m.Descriptor().Fields()
	for i := range fields.Len() { // descriptor order: the same text for equal messages
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		if !first {
			b.WriteString(" ")
		}
		first = false
		b.WriteString(string(f.Name()))
		b.WriteString(":")
		switch {
		case f.IsMap():
			fmt.Fprintf(b, "map of %d", m.Get(f).Map().Len())
		case f.IsList():
			list := m.Get(f).List()
			b.WriteString("[")
			for j := range list.Len() {
				if j > 0 {
					b.WriteString(" ")
				}
				showValue(b, f, list.Get(j))
			}
			b.WriteString("]")
		default:
			showValue(b, f, m.Get(f))
		}
	}
	b.WriteString("}")
}

const showBytes = 32

func showValue(b *strings.Builder, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case f.Kind() == protoreflect.MessageKind:
		showMessage(b, v.Message())
	case f.Kind() == protoreflect.EnumKind:
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
			b.WriteString(string(d.Name()))
			return
		}
		fmt.Fprint(b, v.Enum())
	case f.Kind() == protoreflect.BytesKind && len(v.Bytes()) > showBytes:
		sum := sha256.Sum256(v.Bytes())
		fmt.Fprintf(b, "%q…(%d bytes, %x)", v.Bytes()[:8], len(v.Bytes()), sum[:4])
	case f.Kind() == protoreflect.BytesKind:
		fmt.Fprintf(b, "%q", v.Bytes())
	case f.Kind() == protoreflect.StringKind:
		name := strings.ToLower(string(f.Name()))
		if strings.Contains(name, "password") || strings.Contains(name, "token") {
			b.WriteString("***")
			return
		}
		fmt.Fprintf(b, "%q", v.String())
	default:
		b.WriteString(v.String())
	}
}

func showAnswer(a answer) string {
	parts := make([]string, 0, len(a.msgs)+1)
	for i, m := range a.msgs {
		if i == 8 && len(a.msgs) > 10 {
			parts = append(parts, fmt.Sprintf("…(%d messages)", len(a.msgs)))
			break
		}
		parts = append(parts, show(m))
	}
	if a.err != nil {
		parts = append(parts, fmt.Sprintf("error %s: %q", a.err.Code(), a.err.Message()))
	}
	return strings.Join(parts, "\n      ")
}

func showRequest(q request) string {
	name := q.rpc
	if name == "" {
		name = q.path
	}
	parts := []string{name}
	switch q.as {
	case nobody:
	case forged:
		parts = append(parts, "with a forged token")
	default:
		parts = append(parts, "as "+string(q.as))
	}
	for _, m := range q.msgs {
		parts = append(parts, show(m))
	}
	return strings.Join(parts, " ")
}
