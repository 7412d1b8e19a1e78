package cli

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/pki"
	"github.com/etcdguard/etcdguard/policy"
)

func TestParseAccess(t *testing.T) {
	for do, want := range map[string]struct {
		action etcdapi.Action
		keys   etcdapi.Range
	}{
		"KV.Range prefix:/registry/":    {etcdapi.KVRange, etcdapi.NewRange([]byte("/registry/"), []byte("/registry0"))},
		"KV.Put key:foo":                {etcdapi.KVPut, etcdapi.Key([]byte("foo"))},
		"  KV.Put   key:foo  ":          {etcdapi.KVPut, etcdapi.Key([]byte("foo"))},
		"KV.Put key:a:b":                {etcdapi.KVPut, etcdapi.Key([]byte("a:b"))},
		`KV.Put key:"a b\xff"`:          {etcdapi.KVPut, etcdapi.Key([]byte("a b\xff"))},
		"KV.Range from:a to:b":          {etcdapi.KVRange, etcdapi.NewRange([]byte("a"), []byte("b"))},
		`KV.Range to:"b c" from:"a b"`:  {etcdapi.KVRange, etcdapi.NewRange([]byte("a b"), []byte("b c"))},
		"Watch.Watch from:a":            {etcdapi.WatchWatch, etcdapi.NewRange([]byte("a"), []byte{0})},
		`KV.Range prefix:"\xff"`:        {etcdapi.KVRange, etcdapi.NewRange([]byte("\xff"), []byte{0})},
		"KV.Range all":                  {etcdapi.KVRange, etcdapi.NewRange([]byte{1}, []byte{0})},
		"KV.Range key:all":              {etcdapi.KVRange, etcdapi.Key([]byte("all"))},
		`KV.Range from:"\x00"`:          {etcdapi.KVRange, etcdapi.NewRange([]byte{1}, []byte{0})},
		`KV.Range from:"\x00" to:"b"`:   {etcdapi.KVRange, etcdapi.NewRange([]byte{1}, []byte("b"))},
		`KV.Range key:"\x00ring"`:       {etcdapi.KVRange, etcdapi.Key([]byte("\x00ring"))},
		"KV.Txn":                        {etcdapi.KVTxn, etcdapi.Range{}},
		"KV.Txn:Put key:a":              {etcdapi.KVTxnPut, etcdapi.Key([]byte("a"))},
		"Maintenance.Snapshot":          {etcdapi.MaintenanceSnapshot, etcdapi.Range{}},
		"Maintenance.Alarm:Get":         {etcdapi.MaintenanceAlarmGet, etcdapi.Range{}},
		"KV.DeleteRange from:b to:a":    {etcdapi.KVDeleteRange, etcdapi.NewRange([]byte("b"), []byte("a"))},
		"KV.DeleteRange from:a to:a":    {etcdapi.KVDeleteRange, etcdapi.NewRange([]byte("a"), []byte("a"))},
		"KV.RangeStream prefix:prefix:": {etcdapi.KVRangeStream, etcdapi.NewRange([]byte("prefix:"), []byte("prefix;"))},
	} {
		action, keys, err := parseAccess(do)
		if err != nil || action != want.action || keys.String() != want.keys.String() || keys.Kind != want.keys.Kind {
			t.Errorf("%q: %v on %v, %v; want %v on %v", do, action, keys, err, want.action, want.keys)
		}
	}
	for _, do := range []string{"", "KV", "KV.*", "*", "Maintenance.Alarm", "KV.Range", "KV.Range key:", "KV.Range /a", "KV.Range key:a key:b", "KV.Range key:a prefix:b",
		"KV.Range to:b", "KV.Range all from:a", "KV.Range range:a", `KV.Range key:"a`, `KV.Range key:"a"b`, "Maintenance.Snapshot key:a", "KV.Txn key:a", "KV.Range key:a b"} {
		action, keys, err := parseAccess(do)
		var usage usageError
		if !errors.As(err, &usage) || usage.ExitCode() != 2 || usage.Hint() == "" {
			t.Errorf("%q is understood as %v on %v: %v", do, action, keys, err)
		}
	}
}

func TestParseCaller(t *testing.T) {
	none := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	for as, want := range map[string]string{
		"anonymous":                         "anonymous",
		"cn=a":                              "CN=a",
		"CN=a,O=b,o=c":                      "CN=a, O=b, O=c",
		`cn="a, b",o=c`:                     `CN="a, b", O=c`,
		"o=system:masters, cn=a":            "CN=a, O=system:masters",
		"uri=spiffe://example.org/a?b=c":    `URI="spiffe://example.org/a?b=c"`,
		"dns=a.example.org":                 "DNS=a.example.org",
		"ip=::ffff:10.0.0.1":                "IP=10.0.0.1",
		"publicKeySHA256=" + "ABCDEF012345": "publicKeySHA256=abcdef012345",
	} {
		c, err := parseCaller(as, none)
		if err != nil || c.String() != want {
			t.Errorf("%q: %v, %v; want %s", as, c, err, want)
		}
	}
	for _, as := range []string{"", "a", "cn=", "cn=a,b", "cn=a,cn=b", "nc=a", "ip=a", `cn="a`, `cn="a"b`, "serial=1", "./a=b.pem"} {
		c, err := parseCaller(as, none)
		var usage usageError
		if !errors.As(err, &usage) || usage.ExitCode() != 2 || usage.Hint() == "" {
			t.Errorf("%q is understood as %v: %v", as, c, err)
		}
	}
}

// TestParseCallerOfCertificate: the file may hold the key as well, and it is the
// leaf that counts, which stands first.
func TestParseCallerOfCertificate(t *testing.T) {
	dir := t.TempDir()
	leaf := clientCertificate(t, dir)
	data, err := os.ReadFile(leaf)
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(dir, "both.pem")
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("not looked at")})
	if err := os.WriteFile(both, append(key, data...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{leaf, both} {
		c, err := parseCaller(file, os.ReadFile)
		if err != nil || c.CN != "ann" || c.Serial == "" || len(c.PublicKeySHA256) != 64 {
			t.Errorf("%s: %v, %v", file, c, err)
		}
	}
	for name, text := range map[string]string{"empty": "", "text": "hello", "key": string(key), "rubbish": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if c, err := parseCaller(name, func(string) ([]byte, error) { return []byte(text), nil }); err == nil {
			t.Errorf("%s: %v", name, c)
		}
	}
}

// TestHelpNamesEveryForm: help against code is where command lines drift.
func TestPolicyHelpAgreesWithTheParsers(t *testing.T) {
	forms := regexp.MustCompile(`(?m)^  "(KV\.[^"]*|Watch\.[^"]*)"|^  (Maintenance\.\S+)`).FindAllStringSubmatch(policyExplainHelp, -1)
	if len(forms) < 6 {
		t.Fatalf("only %d forms of --do in the help", len(forms))
	}
	for _, f := range forms {
		if _, _, err := parseAccess(f[1] + f[2]); err != nil {
			t.Errorf("the help says %q: %v", f[1]+f[2], err)
		}
	}
	for _, field := range []string{"cn", "o", "dns", "ip", "uri", "publicKeySHA256"} {
		value := "1.2.3.4"
		if err := setField(&policy.Caller{}, field, value); err != nil || !regexp.MustCompile(`[" ]`+field+`[,\s=]`).MatchString(policyExplainHelp) {
			t.Errorf("%s: %v, or not in the help", field, err)
		}
	}
	names := regexp.MustCompile(`(?s)names in -o json are stable: (.*?)\.$`).FindStringSubmatch(policyExplainHelp)[1]
	var out bytes.Buffer
	if err := printJSON(&out, policy.Explanation{Matches: []string{"a"}, Range: "r", Rule: "r", Line: 1, Others: []policy.OtherRule{{}}, NearMisses: []string{"a"}, Suggestion: "s"}); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^  "(\w+)":`).FindAllStringSubmatch(out.String(), -1) {
		if !strings.Contains(names, m[1]) {
			t.Errorf("the help does not name %s of the JSON", m[1])
		}
	}
}

// clientCertificate writes the certificate of ann into dir.
func clientCertificate(t *testing.T, dir string) (file string) {
	t.Helper()
	authority, err := pki.NewAuthority(pki.Clients, "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Issue(pki.Profile{Use: pki.Client, Subject: pkix.Name{CommonName: "ann"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "ann.crt")
	if err := leaf.Save(file, filepath.Join(dir, "ann.key")); err != nil {
		t.Fatal(err)
	}
	return file
}
