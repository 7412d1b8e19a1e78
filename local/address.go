package local

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ports of one member, in the order in which --listen HOST:PORT counts them.
type ports struct{ client, peer, metrics uint16 }

// placement is one member's name and the three addresses it listens on.
type placement struct {
	name                  string
	client, peer, metrics netip.AddrPort
}

const (
	etcdPort = 2379 // IANA: etcd-client; 2380 is etcd-server
	farther  = 10000
)

// place chooses the addresses of n members. A host alone gives the first member
// the ports that etcd is known for, 2379 and 2380, and 2381 for metrics; the
// others are 10000 and 20000 higher. With a port, everything lies in one row from
// there: client, peer, metrics of m1, then of m2, then of m3.
func place(listen string, n int) ([]placement, error) {
	host, first, err := parseListen(listen)
	if err != nil {
		return nil, err
	}
	metricsHost := host
	if !host.IsLoopback() {
		// Metrics go over plain HTTP, for anyone who can connect: this host only.
		metricsHost = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	out := make([]placement, n)
	for i := range out {
		base := etcdPort + farther*i
		if first != 0 {
			base = int(first) + 3*i
		}
		if base+2 > 65535 {
			return nil, badFlag("choosing ports from %d: %d members need %d in a row up to 65535; give --listen a lower port", first, n, 3*n)
		}
		p := ports{uint16(base), uint16(base + 1), uint16(base + 2)}
		out[i] = placement{
			name:    "m" + strconv.Itoa(i+1),
			client:  netip.AddrPortFrom(host, p.client),
			peer:    netip.AddrPortFrom(host, p.peer),
			metrics: netip.AddrPortFrom(metricsHost, p.metrics),
		}
	}
	return out, nil
}

// parseListen reads HOST, HOST:PORT or [IPv6]:PORT. Port 0 means that none was given.
func parseListen(listen string) (netip.Addr, uint16, error) {
	bad := func(why string) error {
		return badFlag("reading --listen %q: %s; give an address of this machine, 127.0.0.1 or 127.0.0.1:2379", listen, why)
	}
	host, port := listen, ""
	if h, p, err := net.SplitHostPort(listen); err == nil {
		host, port = h, p
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if host == "localhost" {
		host = "127.0.0.1" // etcd does not bind to names
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return netip.Addr{}, 0, bad("not an IP address")
	case addr.IsUnspecified():
		return netip.Addr{}, 0, bad("certificates and members must name one address, not all of them")
	case addr.Zone() != "" || addr.IsMulticast():
		return netip.Addr{}, 0, bad("no address that a member can be reached at")
	}
	var number uint64
	if port != "" {
		if number, err = strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return netip.Addr{}, 0, bad("the port is no number from 1 to 65535")
		}
	}
	return addr.Unmap(), uint16(number), nil
}

// checkFree tries every address that a member is about to listen on, so that a
// port in use is an error with a fix and not a line in a log.
func checkFree(places []placement, ran bool) error {
	for _, p := range places {
		for _, use := range []struct {
			what string
			at   netip.AddrPort
		}{{"client", p.client}, {"peer", p.peer}, {"metrics", p.metrics}} {
			l, err := net.Listen("tcp", use.at.String())
			if err != nil {
				hint := "stop the program that listens there, or put this cluster on other ports: etcdguard up --listen " +
					netip.AddrPortFrom(p.client.Addr(), 23790).String()
				if ran {
					hint = "the addresses of a cluster are fixed once it holds data; stop the program that listens there (ss -ltnp names it)"
				}
				return withHint(hint, "listening on %s for %s's %s port: %w", use.at, p.name, use.what, err)
			}
			l.Close()
		}
	}
	return nil
}
