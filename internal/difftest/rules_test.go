package difftest

import (
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// telling matches names of fields whose values an etcd might choose for itself.
var telling = regexp.MustCompile(`(?i)rev(ision)?s?$|_rev|lease|ids?$|term$|index$|size|hash|ttl$|token|urls$|leader$`)

func TestEveryTellingFieldHasARule(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	eachField(func(f protoreflect.FieldDescriptor) {
		seen[f.FullName()] = true
		if f.Kind() == protoreflect.MessageKind || f.Kind() == protoreflect.BoolKind {
			return
		}
		if _, ok := rules[f.FullName()]; !ok && telling.MatchString(string(f.Name())) {
			t.Errorf("%s may differ between two etcds: give it a rule, plain if it may not", f.FullName())
		}
	})
	for name := range rules {
		if !seen[name] {
			t.Errorf("the rule for %s is stale: no RPC has this field", name)
		}
	}
	if len(seen) < 150 {
		t.Fatalf("only %d fields found: the walk is broken", len(seen))
	}
}

// eachField visits every field of every message that an RPC takes or gives.
func eachField(visit func(protoreflect.FieldDescriptor)) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			visit(f)
			if f.Kind() == protoreflect.MessageKind {
				walk(f.Message())
			}
		}
	}
	for _, m := range methods {
		walk(m.desc.Input())
		walk(m.desc.Output())
	}
}

func TestUnreachableNamesExist(t *testing.T) {
	known := map[string]bool{}
	for _, rpc := range methodNames {
		known[rpc+" OK"], known[rpc+" error"] = true, true
		for _, f := range append(fieldsOf(rpc, methods[rpc].desc.Input()), fieldsOf(rpc, methods[rpc].desc.Output())...) {
			known[f] = true
		}
	}
	for name, why := range unreachable {
		if !known[name] {
			t.Errorf("%q is excused but does not exist", name)
		}
		if strings.TrimSpace(why) == "" {
			t.Errorf("%q is excused without a reason", name)
		}
	}
}

func TestCoverageMissesWhatWasNotSent(t *testing.T) {
	gaps := newCoverage().gaps()
	if len(gaps) < 500 {
		t.Errorf("an empty run leaves only %d gaps", len(gaps))
	}
}

func TestPasswordsAndTokensAreNotShown(t *testing.T) {
	eachField(func(f protoreflect.FieldDescriptor) {
		if f.Kind() != protoreflect.StringKind || f.IsList() || !regexp.MustCompile(`(?i)password|token`).MatchString(string(f.Name())) {
			return
		}
		m := newMessage(f.ContainingMessage())
		m.ProtoReflect().Set(f, protoreflect.ValueOfString("s3cret"))
		if text := show(m); strings.Contains(text, "s3cret") {
			t.Errorf("a report would show %s: %s", f.FullName(), text)
		}
	})
}
