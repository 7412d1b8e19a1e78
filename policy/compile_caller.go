package policy

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

func (c *compiler) caller(i int, e *callerEntry) {
	at := func(field string) string { return fmt.Sprintf("callers[%d]%s", i, field) }
	switch first, twice := c.callers[e.Name]; {
	case e.Name == "" && c.around[at("")]: // probably what a problem here is about
	case !goodName(e.Name):
		c.problem(at(".name"), quoted(e.Name)+" is not a name", goodNames)
	case twice:
		c.problem(at(".name"), fmt.Sprintf("%q is the name of the caller on line %d", e.Name, c.policy.callers[first].line), "choose another")
	case e.Name == "unmatched" || e.Name == "anonymous" && !e.Match.Anonymous:
		c.problem(at(".name"), quoted(e.Name)+" is what etcdguard calls callers that no entry matches", "choose another")
	}
	if _, twice := c.callers[e.Name]; !twice {
		c.callers[e.Name] = i
	}
	c.policy.callers = append(c.policy.callers, callerRules{
		name:   e.Name,
		line:   c.doc.Line(at("")),
		match:  c.matcher(at(".match"), &e.Match),
		limits: c.limits(at(".limits"), &e.Limits),
	})
}

func (c *compiler) matcher(field string, e *matchEntry) matcher {
	m := matcher{cn: e.CN, o: e.O, anonymous: e.Anonymous, anyCertificate: e.AnyCertificate}
	lists := len(e.CN) + len(e.O) + len(e.DNS) + len(e.IP) + len(e.URI) + len(e.PublicKeySHA256)
	switch {
	case lists == 0 && !e.Anonymous && !e.AnyCertificate:
		c.problem(field, "matches nobody in particular", "list some of cn, o, dns, ip, uri, publicKeySHA256; or, if you mean it, anonymous: true or anyCertificate: true")
	case e.Anonymous && (lists > 0 || e.AnyCertificate):
		c.problem(field, "a caller without a certificate has nothing else to match", "remove the other fields, or make two callers")
	case e.AnyCertificate && lists > 0:
		c.problem(field, "anyCertificate would make the other fields pointless", "remove it or them")
	}
	for _, l := range []struct {
		name   string
		given  bool
		values []string
	}{
		{".cn", e.CN != nil, e.CN}, {".o", e.O != nil, e.O}, {".dns", e.DNS != nil, e.DNS}, {".uri", e.URI != nil, e.URI},
		{".publicKeySHA256", e.PublicKeySHA256 != nil, e.PublicKeySHA256}, {".ip", e.IP != nil, texts(e.IP)},
	} {
		if l.given && len(l.values) == 0 {
			// An empty list would hold for everybody or nobody, depending on the reader.
			c.problem(field+l.name, "is an empty list", "list a value or remove the field")
		}
		for j, v := range l.values {
			if v == "" || v == "*" {
				c.problem(fmt.Sprintf("%s%s[%d]", field, l.name, j), quoted(v)+" matches no certificate: values are compared whole",
					"write the value as it stands in the certificate; anyCertificate: true matches every one")
			}
		}
	}
	for _, d := range e.DNS {
		m.dns = append(m.dns, strings.ToLower(d))
	}
	for j, ip := range e.IP {
		m.ip = append(m.ip, c.ip(fmt.Sprintf("%s.ip[%d]", field, j), ip))
	}
	for j, u := range e.URI {
		m.uri = append(m.uri, c.uri(fmt.Sprintf("%s.uri[%d]", field, j), u))
	}
	for j, k := range e.PublicKeySHA256 {
		m.publicKey = append(m.publicKey, c.publicKey(fmt.Sprintf("%s.publicKeySHA256[%d]", field, j), k))
	}
	return m
}

func (c *compiler) ip(field string, ip netip.Addr) netip.Addr {
	if ip.Zone() != "" {
		c.problem(field, "an address in a certificate has no zone", "remove what follows the %")
	}
	return ip.Unmap()
}

// uri brings the value to the form in which Caller has the certificate's.
func (c *compiler) uri(field, value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Scheme == "" {
		if value != "" && value != "*" { // reported already
			c.problem(field, quoted(value)+" is not a URI", "write it whole, such as spiffe://example.org/backup")
		}
		return value
	}
	return u.String()
}

func (c *compiler) publicKey(field, value string) string {
	value = strings.ToLower(value)
	if raw, err := hex.DecodeString(value); value != "" && value != "*" && (err != nil || len(raw) != 32) {
		c.problem(field, "is not a SHA-256 in hex",
			"write the 64 digits that this prints: openssl x509 -in CERT -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum")
	}
	return value
}

func (c *compiler) limits(field string, e *limitsEntry) Limits {
	return Limits{
		KeysPerRange: limit(c, field+".keysPerRange", e.KeysPerRange),
		ValueBytes:   limit(c, field+".valueBytes", e.ValueBytes),
		Watchers:     limit(c, field+".watchers", e.Watchers),
		InFlight:     limit(c, field+".inFlight", e.InFlight),
	}
}

func limit[T int | int64](c *compiler, field string, value *T) T {
	if value == nil {
		return 0
	}
	if *value <= 0 {
		c.problem(field, "is not a limit", "write a number above 0, or remove the field for no limit")
	}
	return *value
}
