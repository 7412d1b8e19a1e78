package policy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// Caller is who asks, as the client certificate says it. Identity is an argument
// everywhere: nothing here looks it up.
type Caller struct {
	CN              string
	O, DNS, URI     []string
	IP              []netip.Addr
	Serial          string // decimal, as in revocation lists
	PublicKeySHA256 string // lower hex of SHA-256 over the SubjectPublicKeyInfo
	Peer            string // remote address: for the record only, never matched
}

// CallerOf reads a verified leaf certificate. No leaf is an anonymous caller.
func CallerOf(leaf *x509.Certificate, peer string) Caller {
	if leaf == nil {
		return Caller{Peer: peer}
	}
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	c := Caller{
		CN:              leaf.Subject.CommonName,
		O:               leaf.Subject.Organization,
		DNS:             leaf.DNSNames,
		PublicKeySHA256: hex.EncodeToString(key[:]),
		Peer:            peer,
	}
	if leaf.SerialNumber != nil {
		c.Serial = leaf.SerialNumber.String()
	}
	for _, u := range leaf.URIs {
		c.URI = append(c.URI, u.String())
	}
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			c.IP = append(c.IP, a.Unmap())
		}
	}
	return c
}

// Anonymous reports whether there was no certificate. One that names nobody at all
// still has a public key.
func (c Caller) Anonymous() bool {
	return c.CN == "" && len(c.O) == 0 && len(c.DNS) == 0 && len(c.URI) == 0 && len(c.IP) == 0 &&
		c.Serial == "" && c.PublicKeySHA256 == ""
}

// String is for logs. What a certificate says is escaped: a CA may sign a name
// with a line break or ", O=" in it, and it must not read as another caller.
func (c Caller) String() string {
	if c.Anonymous() {
		return "anonymous"
	}
	var parts []string
	add := func(name, value string) { parts = append(parts, name+"="+legible(value)) }
	if c.CN != "" {
		add("CN", c.CN)
	}
	for _, o := range c.O {
		add("O", o)
	}
	for _, u := range c.URI {
		add("URI", u)
	}
	if len(parts) == 0 { // no name that people know it by
		for _, d := range c.DNS {
			add("DNS", d)
		}
		for _, ip := range c.IP {
			add("IP", ip.String())
		}
	}
	if c.Serial != "" {
		add("serial", c.Serial)
	} else if len(parts) == 0 {
		add("publicKeySHA256", c.PublicKeySHA256)
	}
	return strings.Join(parts, ", ")
}

// legible is s, quoted if anything in it could be mistaken for punctuation.
func legible(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` || strings.ContainsAny(s, ",=") || s == "" || s != strings.TrimSpace(s) {
		return q
	}
	return s
}
