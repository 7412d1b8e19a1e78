package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// matcher recognises the callers of one entry: for each field that lists values,
// the certificate has one of them. Values are compared whole; there are no
// patterns, since a pattern in an identity is a certificate waiting to be issued.
type matcher struct {
	cn, o, dns, uri, publicKey []string
	ip                         []netip.Addr
	anonymous, anyCertificate  bool
}

// mismatch is the first field of m that does not hold for c, or "" if c matches.
func (m *matcher) mismatch(c Caller) string {
	switch anonymous := c.Anonymous(); {
	case m.anonymous && !anonymous:
		return "anonymous"
	case !m.anonymous && anonymous:
		return "a certificate"
	case len(m.publicKey) > 0 && !slices.Contains(m.publicKey, c.PublicKeySHA256):
		return "publicKeySHA256"
	case len(m.uri) > 0 && !anyOf(m.uri, c.URI):
		return "uri"
	case len(m.cn) > 0 && !slices.Contains(m.cn, c.CN):
		return "cn"
	case len(m.dns) > 0 && !slices.ContainsFunc(c.DNS, func(d string) bool { return slices.Contains(m.dns, strings.ToLower(d)) }):
		return "dns"
	case len(m.ip) > 0 && !slices.ContainsFunc(c.IP, func(ip netip.Addr) bool { return slices.Contains(m.ip, ip.Unmap()) }):
		return "ip"
	case len(m.o) > 0 && !anyOf(m.o, c.O):
		return "o"
	default:
		return ""
	}
}

func anyOf(listed, has []string) bool {
	return slices.ContainsFunc(has, func(s string) bool { return slices.Contains(listed, s) })
}

// callerIndex finds the entries that may match without trying all: each is filed
// under its most telling field.
type callerIndex struct {
	by     map[string][]int // "cn=…" and the like
	always []int            // anonymous and anyCertificate
}

func indexCallers(entries []callerRules) callerIndex {
	x := callerIndex{by: map[string][]int{}}
	for i := range entries {
		m := &entries[i].match
		keys := make([]string, 0, 1)
		file := func(field string, values []string) {
			for _, v := range values {
				keys = append(keys, field+"="+v)
			}
		}
		switch {
		case len(m.publicKey) > 0:
			file("key", m.publicKey)
		case len(m.uri) > 0:
			file("uri", m.uri)
		case len(m.cn) > 0:
			file("cn", m.cn)
		case len(m.dns) > 0:
			file("dns", m.dns)
		case len(m.ip) > 0:
			file("ip", texts(m.ip))
		case len(m.o) > 0:
			file("o", m.o)
		default:
			x.always = append(x.always, i)
		}
		for _, k := range keys {
			x.by[k] = append(x.by[k], i)
		}
	}
	return x
}

func texts(ips []netip.Addr) []string {
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.Unmap().String()
	}
	return out
}

// candidates are the entries that may match c, in the order of the file.
func (x callerIndex) candidates(c Caller) []int {
	found := slices.Clone(x.always)
	look := func(field string, values ...string) {
		for _, v := range values {
			found = append(found, x.by[field+"="+v]...)
		}
	}
	look("key", c.PublicKeySHA256)
	look("uri", c.URI...)
	look("cn", c.CN)
	for _, d := range c.DNS {
		look("dns", strings.ToLower(d))
	}
	look("ip", texts(c.IP)...)
	look("o", c.O...)
	slices.Sort(found)
	return slices.Compact(found)
}
