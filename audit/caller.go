package audit

import "net/netip"

// Caller is who asked, written out once for all events of a connection.
type Caller struct {
	name   string
	member []byte // `,"caller":{…}`
}

// Identity is what an event says of a caller.
type Identity struct {
	Name            string // the policy's
	CN              string
	O, DNS, URI     []string
	IP              []netip.Addr
	Serial          string // decimal
	PublicKeySHA256 string // hex
	Peer            string // address and port
}

// NewCaller writes an identity out.
func NewCaller(i Identity) *Caller {
	l := line{[]byte(`,"caller":{`)}
	l.text("name", i.Name)
	l.text("cn", i.CN)
	l.list("o", i.O)
	l.list("dns", i.DNS)
	ips := make([]string, len(i.IP))
	for n, ip := range i.IP {
		ips[n] = ip.String()
	}
	l.list("ip", ips)
	l.list("uri", i.URI)
	l.text("serial", i.Serial)
	l.text("publicKeySHA256", i.PublicKeySHA256)
	l.text("peer", i.Peer)
	return &Caller{i.Name, append(l.b, '}')}
}

// list writes as many as there is room for: an untrusted certificate can have thousands
// of names.
func (l *line) list(name string, values []string) {
	if len(values) == 0 || len(l.b) > mostCallerBytes {
		return
	}
	l.name(name)
	l.b = append(l.b, '[')
	written := 0
	for _, v := range values {
		if len(l.b) > mostCallerBytes {
			break
		}
		if written > 0 {
			l.b = append(l.b, ',')
		}
		l.b = appendText(l.b, v, mostText)
		written++
	}
	l.b = append(l.b, ']')
	l.number(name+"More", int64(len(values)-written))
}
