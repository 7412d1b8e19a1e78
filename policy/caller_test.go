package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/etcdguard/etcdguard/etcdapi"
)

func certificate(t *testing.T, template x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCallerOf(t *testing.T) {
	spiffe, _ := url.Parse("spiffe://example.org/ns/a")
	leaf := certificate(t, x509.Certificate{
		SerialNumber: big.NewInt(4711),
		Subject:      pkix.Name{CommonName: "app", Organization: []string{"one", "two"}},
		DNSNames:     []string{"App.example.org"},
		URIs:         []*url.URL{spiffe},
		IPAddresses:  []net.IP{net.ParseIP("10.0.0.1"), net.ParseIP("fd00::1")},
	})
	c := CallerOf(leaf, "192.0.2.1:5")
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	if c.CN != "app" || strings.Join(c.O, "+") != "one+two" || c.Serial != "4711" || c.Peer != "192.0.2.1:5" ||
		c.PublicKeySHA256 != hex.EncodeToString(sum[:]) || len(c.IP) != 2 || c.IP[0] != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("%#v", c)
	}
	if c.Anonymous() || !CallerOf(nil, "192.0.2.1:5").Anonymous() {
		t.Error("anonymous is not told from named")
	}
	if got, want := c.String(), "CN=app, O=one, O=two, URI=spiffe://example.org/ns/a, serial=4711"; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	for name, m := range map[string]string{
		"cn": "cn: [other, app]", "o": "o: [two]", "dns, whatever its case": "dns: [aPP.example.org]", "uri": "uri: ['spiffe://example.org/ns/a']",
		"ip": "ip: [10.0.0.1]", "ip as IPv6 writes IPv4": "ip: ['::ffff:10.0.0.1']", "ipv6": "ip: ['fd00:0::1']",
		"publicKeySHA256": "publicKeySHA256: [" + strings.ToUpper(c.PublicKeySHA256) + "]",
		"all together":    "cn: [app], o: [one], dns: [app.example.org], ip: [10.0.0.1]", "anyCertificate": "anyCertificate: true",
	} {
		if got := parsedFile(t, "callers: [{name: hit, match: {"+m+"}}]\nrules: []").Subject(c).Name(); got != "hit" {
			t.Errorf("match by %s: %s", name, got)
		}
	}
	for name, m := range map[string]string{
		"another cn": "cn: [App]", "the peer's address": "ip: [192.0.2.1]", "one field of two": "cn: [app], o: [three]",
		"a part of the uri": "uri: ['spiffe://example.org/ns']", "no certificate": "anonymous: true", "a parent domain": "dns: [example.org]",
		"the cn as o": "o: [app]", "the o as cn": "cn: [one]", "two organisations as one": "o: ['one, two']", "the dns name as cn": "cn: [App.example.org]",
	} {
		if got := parsedFile(t, "callers: [{name: hit, match: {"+m+"}}]\nrules: []").Subject(c).Name(); got != "unmatched" {
			t.Errorf("match by %s: %s", name, got)
		}
	}
}

// TestNamelessCertificateIsNotAnonymous: a certificate that names nobody still
// proves a key; it must not get what callers without one get, nor the other way.
func TestNamelessCertificateIsNotAnonymous(t *testing.T) {
	nameless := CallerOf(certificate(t, x509.Certificate{SerialNumber: big.NewInt(1)}), "")
	p := parsedFile(t, "callers: [{name: none, match: {anonymous: true}}, {name: some, match: {anyCertificate: true}}]\nrules: []")
	if got := p.Subject(nameless).Name(); got != "some" {
		t.Errorf("a nameless certificate is %s", got)
	}
	if got := p.Subject(Caller{Peer: "192.0.2.1:5"}).Name(); got != "none" {
		t.Errorf("no certificate is %s", got)
	}
	other := parsedFile(t, "callers: [{name: x, match: {cn: [x]}}]\nrules: []")
	if a, b := other.Subject(Caller{}).Name(), other.Subject(nameless).Name(); a != "anonymous" || b != "unmatched" {
		t.Errorf("%s and %s", a, b)
	}
}

// TestCallerCannotForgeALogLine: names are the CA's word, not ours.
func TestCallerCannotForgeALogLine(t *testing.T) {
	for _, cn := range []string{"app, O=system:masters", "app\nlevel=INFO msg=\"all is well\"", "app\x1b[2J", "anonymous=", ` "app"`, "app\u202egro"} {
		got := Caller{CN: cn}.String()
		if strings.ContainsAny(got, "\n\x1b\u202e") || !strings.HasPrefix(got, `CN="`) {
			t.Errorf("%q is shown as %s", cn, got)
		}
	}
	if got := (Caller{}).String(); got != "anonymous" {
		t.Error(got)
	}
}

func TestAllMatchingEntriesCount(t *testing.T) {
	p := parsedFile(t, `callers:
  - {name: group, match: {o: [team]}, limits: {keysPerRange: 10, watchers: 7}}
  - {name: person, match: {cn: [ann]}, limits: {keysPerRange: 5, valueBytes: 100, inFlight: 3}}
rules:
  - {name: for-person, callers: [person], actions: [KV.Put], keys: [{prefix: b}]}
  - {name: for-group, callers: [group], actions: [KV.Put], keys: [{prefix: a}]}
`)
	s := p.Subject(Caller{CN: "ann", O: []string{"team"}})
	if s.Name() != "group" {
		t.Errorf("known as %s, want the first entry of the file", s.Name())
	}
	if want := (Limits{KeysPerRange: 5, ValueBytes: 100, Watchers: 7, InFlight: 3}); s.Limits() != want {
		t.Errorf("limits %+v, want the strictest %+v", s.Limits(), want)
	}
	if d := s.Decide(etcdapi.KVPut, span("a", "c")); d != allowed("for-group") {
		t.Errorf("rules of both entries together: %+v", d)
	}
	if d := p.Subject(Caller{CN: "ann"}).Decide(etcdapi.KVPut, key("a")); d.Allowed {
		t.Errorf("without the group: %+v", d)
	}
	if l := p.Subject(Caller{CN: "x"}).Limits(); l != (Limits{}) {
		t.Errorf("unmatched: %+v", l)
	}
}

func TestSubjectsAreSharedAndSafe(t *testing.T) {
	p := parsed(t, "rules: [{name: all, callers: [app], role: admin}]")
	first := p.Subject(app)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 200 {
				if s := p.Subject(Caller{CN: "app", Serial: string(rune('a' + i%26))}); s != first {
					t.Error("callers that match alike have different subjects")
				}
				first.Decide(etcdapi.KVRange, key("k"))
				p.Explain(app, etcdapi.KVPut, key("k"))
			}
		})
	}
	all.Wait()
}
