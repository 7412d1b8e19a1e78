package strictyaml

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Key  []byte `yaml:"key"`
	Flag bool   `yaml:"flag"`
}

type sample struct {
	Name    string         `yaml:"name,required"`
	Count   int64          `yaml:"count"`
	Small   *int           `yaml:"small"`
	Byte    int8           `yaml:"byte"`
	Wait    time.Duration  `yaml:"wait"`
	Soon    *time.Duration `yaml:"soon"`
	Address netip.Addr     `yaml:"address"`
	List    []string       `yaml:"list"`
	Inner   inner          `yaml:"inner"`
	Inners  []inner        `yaml:"inners"`
	Ignored func()         `yaml:"-"`
}

func TestDecode(t *testing.T) {
	var s sample
	doc, err := Decode("f.yaml", []byte(`# a comment
name: "true"
count: -12
small: 3
wait: 4m30s
soon: 1s
address: "::1"
list:
  - a
  - 'b: c'
inner: {key: plain, flag: true}
inners:
  - key: !!binary /wD+
  - flag: false
`), &s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "true" || s.Count != -12 || *s.Small != 3 || s.Wait != 270*time.Second || *s.Soon != time.Second || s.Address != netip.IPv6Loopback() ||
		!slices.Equal(s.List, []string{"a", "b: c"}) || string(s.Inner.Key) != "plain" || !s.Inner.Flag || string(s.Inners[0].Key) != "\xff\x00\xfe" {
		t.Errorf("%+v", s)
	}
	for field, want := range map[string]int{
		"name": 2, "list": 8, "list[1]": 10, "inner.flag": 11, "inners[0].key": 13, "inners[1]": 14, "inners[1].flag": 14,
		"": 2, "missing": 2, "inners[1].key": 14, "inners[7]": 12, "inner.key.deeper": 11, "list[x]": 8,
	} {
		if got := doc.Line(field); got != want {
			t.Errorf("%q is on line %d, want %d", field, got, want)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		want       string // line field: part of the message; part of the fix
	}{
		{"unknown", "name: x\ncuont: 1", "2 cuont: is not a field; did you mean count?"},
		{"unknown and far", "name: x\nzzzzzz: 1", "2 zzzzzz: is not a field; write some of: name, count"},
		{"another case", "name: x\nCount: 1", "2 Count: is not a field; did you mean count?"},
		{"unknown inside", "name: x\ninners: [{flag: true}, {flug: true}]", "2 inners[1].flug: is not a field; did you mean flag?"},
		{"required, misspelt", "nane: x", "1 nane: is not a field; did you mean name?"},
		{"required, missing", "count: 1", "1 name: is missing; add it"},
		{"field with a line break", "name: x\n\"a\\nb\": 1", "2 \"a\\nb\": is not a field; write"},
		{"twice", "name: x\ncount: 1\ncount: 2", "3 count: given twice, first on line 2; remove"},
		{"twice inside", "name: x\ninner: {flag: true, flag: true}", "2 inner.flag: given twice; remove"},
		{"no value", "name:", "1 name: has no value; give it one"},
		{"null", "name: x\nlist: ~", "2 list: has no value; give"},
		{"null in a list", "name: x\nlist: [null]", "2 list[0]: has no value; give"},
		{"number for text", "name: 12", "1 name: wants text, and this reads as a number; quotes"},
		{"truth for text", "name: true", "1 name: reads as true or false; quotes"},
		{"date for text", "name: 2020-01-01", "1 name: reads as a date; quotes"},
		{"fraction for text", "name: 1e3", "1 name: reads as a fraction; quotes"},
		{"text for number", "name: x\ncount: '1'", "2 count: reads as text; decimals"},
		{"fraction", "name: x\ncount: 1.5", "2 count: reads as a fraction; decimals"},
		{"octal", "name: x\ncount: 010", "2 count: whole number; leading zeros"},
		{"hexadecimal", "name: x\ncount: 0x10", "2 count: whole number; decimals"},
		{"underscores", "name: x\ncount: 1_000", "2 count: whole number; _"},
		{"too large", "name: x\ncount: 9223372036854775808", "2 count: ; decimals"},
		{"too large for the field", "name: x\nbyte: 128", "2 byte: too large for 8 bits; smaller"},
		{"text for truth", "name: x\ninner: {flag: 'true'}", "2 inner.flag: reads as text; without quotes"},
		{"yes for truth", "name: x\ninner: {flag: yes}", "2 inner.flag: reads as text; true or false"},
		{"duration without unit", "name: x\nwait: 30", "2 wait: wants a duration; unit"},
		{"duration that is none", "name: x\nwait: soon", "2 wait: wants a duration; 90s"},
		{"address", "name: x\naddress: nowhere", "2 address: can't be read; correct"},
		{"single for list", "name: x\nlist: a", "2 list: wants a list; brackets"},
		{"group for list", "name: x\nlist: {a: b}", "2 list: wants a list; line of its own"},
		{"list for text", "name: [x]", "1 name: wants text, and this is a list; single value"},
		{"list for group", "name: x\ninner: []", "2 inner: group of fields, and this is a list; key, flag"},
		{"text for group", "name: x\ninner: a", "2 inner: group of fields, and this is a single value; key, flag"},
		{"all is a list", "- name: x", "1 : group of fields, and this is a list; name"},
		{"all is text", "name", "1 : group of fields, and this is a single value; name"},
		{"base64", "name: x\ninner: {key: !!binary '%'}", "2 inner.key: not base64; padding"},
		{"binary text", "name: !!binary eA==", "1 name: tags (!) are not read; remove the tag"},
		{"tag", "name: !!str 12", "1 name: tags (!) are not read; remove"},
		{"own tag", "name: !x 12", "1 name: tags (!) are not read; remove"},
		{"anchor", "name: &a x", "1 name: anchors (&) and aliases (*); write the value out"},
		{"alias", "name: x\nlist: &a [b]\ninners: *a", "2 list: anchors (&) and aliases; write|3 inners: anchors; write"},
		{"merge", "name: x\ninner: {<<: {flag: true}}", "2 inner: merge keys (<<); write"},
		{"numbered field", "name: x\n1: y", "2 1: is not a field; write"},
		{"field that is a list", "name: x\n? [a]\n: y", "2 : field without a name; write"},
		{"several", "nane: x\ncount: a\ninner: {flag: 3}", "1 nane: not a field; name|2 count: text; decimals|3 inner.flag: number; true"},
		{"empty", "", "0 : file is empty; write it"},
		{"only a comment", "# nothing\n", "0 : file is empty; write it"},
		{"only null", "~", "1 : has no value; give it"},
		{"two documents", "name: x\n---\nname: y", "2 : second document; remove"},
		{"two documents, the second broken", "name: x\n---\nname: [", "3 : not YAML; brackets"},
		{"syntax", "name: x\n\tcount: 1", "2 : not YAML; indentation"},
		{"syntax on the first line", "a: b: c", "1 : not YAML; indentation"},
		{"not UTF-8", "name: x\nlist: [\xff]", "2 : not UTF-8; !!binary"},
		{"unknown alias", "name: *a", "1 : not YAML; quotes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s sample
			doc, err := Decode("f.yaml", []byte(c.yaml), &s)
			var got Problems
			if !errors.As(err, &got) {
				t.Fatalf("no problems: %v", err)
			}
			want := strings.Split(c.want, "|")
			if len(got) != len(want) {
				t.Fatalf("got\n%v\nwant\n%s", got, strings.Join(want, "\n"))
			}
			for i, p := range got {
				place, rest, _ := strings.Cut(want[i], ": ")
				message, fix, _ := strings.Cut(rest, "; ")
				if p.File != "f.yaml" || fmt.Sprintf("%d %s", p.Line, p.Field) != place || !has(p.Message, message) || !strings.Contains(p.Fix, fix) {
					t.Errorf("got %q\nwant %q", p.String(), want[i])
				}
			}
			if unreadable := strings.Contains(c.want, "not YAML") || strings.Contains(c.want, "file is empty") || strings.Contains(c.want, "second document") || strings.Contains(c.want, "UTF-8"); (doc == nil) != unreadable {
				t.Errorf("document: %v", doc)
			}
		})
	}
}

// has reports whether every word of the wanted message is in the one that came.
func has(message, want string) bool {
	for _, word := range strings.Fields(want) {
		if !strings.Contains(message, word) {
			return false
		}
	}
	return true
}

// TestProblemsHaveNoValues: files hold secrets, and problems go to logs.
func TestProblemsHaveNoValues(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, yaml := range []string{"name: [" + secret + "]", "count: " + secret, "inner: " + secret, "wait: " + secret, "list: " + secret,
		"inner: {flag: " + secret + "}", "inner: {key: !!binary " + secret + "%}", "name: !!x " + secret, "name: &x " + secret, "wait: [" + secret + "]"} {
		var s sample
		if _, err := Decode("f", []byte(yaml), &s); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", yaml, err)
		}
	}
}

func TestBounds(t *testing.T) {
	var s sample
	for name, data := range map[string]string{
		"bytes":    "name: " + strings.Repeat("x", maxBytes),
		"brackets": strings.Repeat("[", maxIndicators+1),
		"deep":     "name: " + strings.Repeat("[", 20000),
		"deep too": strings.Repeat("- ", 20000),
	} {
		if _, err := Decode("f", []byte(data), &s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := Decode("f", []byte("name: x\nlist:\n"+strings.Repeat("  - 1\n", 5000)), &s)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != maxProblems+1 {
		t.Errorf("%d problems", len(problems))
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != maxPrinted+1 {
		t.Errorf("%d lines", lines)
	}
}

// TestAliasesCostNothing: ten levels of ten would be ten thousand million.
func TestAliasesCostNothing(t *testing.T) {
	bomb := "name: x\nlist:\n  - &a0 [x]\n"
	for i := range 30 {
		bomb += fmt.Sprintf("  - &a%d [%s]\n", i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	var s sample
	if _, err := Decode("f", []byte(bomb), &s); err == nil || !strings.Contains(err.Error(), "anchors") {
		t.Error(err)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"kube-apiserver", "backup", "KV.Range", "KV.Txn:Range", "cn"}
	for word, want := range map[string]string{"kube-apisrver": "kube-apiserver", "kbue-apiserver": "kube-apiserver", "bakcup": "backup", "kv.range": "KV.Range",
		"KV.TxnRange": "KV.Txn:Range", "nc": "cn", "cm": "cn", "x": "", "snapshot": "", strings.Repeat("k", 1000): ""} {
		if got := Nearest(word, words); got != want {
			t.Errorf("%q is nearest to %q, want %q", word, got, want)
		}
	}
}

func TestStructsAreChecked(t *testing.T) {
	for name, v := range map[string]any{
		"no tag": &struct{ A string }{},
		"option": &struct {
			A string `yaml:"a,omitempty"`
		}{},
		"no rule": &struct {
			A map[string]string `yaml:"a"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_, _ = Decode("f", []byte("a: {b: c}"), v)
		}()
	}
}

func FuzzDecode(f *testing.F) {
	seeds := []string{"name: x\ninners: [{key: !!binary AA==}]\n", "a: &a [*a]\n", "- - - -", "? {}\n: []\n", "%YAML 1.1\n---\nname: x\n...\n"}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		doc, err := Decode("f", data, &s)
		if err == nil {
			if doc == nil || s.Name == "" && !strings.Contains(string(data), "name") {
				t.Fatal("accepted without what is required")
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("not problems: %v", err)
		}
		for _, p := range problems {
			if p.Message == "" || p.Fix == "" || p.Line < 0 || strings.ContainsAny(p.String(), "\n") {
				t.Fatalf("%q", p.String())
			}
		}
	})
}
