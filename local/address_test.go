package local

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestPlace(t *testing.T) {
	tests := []struct {
		listen  string
		members int
		want    []string // client, peer, metrics of each
	}{
		{"127.0.0.1", 3, []string{
			"127.0.0.1:2379", "127.0.0.1:2380", "127.0.0.1:2381",
			"127.0.0.1:12379", "127.0.0.1:12380", "127.0.0.1:12381",
			"127.0.0.1:22379", "127.0.0.1:22380", "127.0.0.1:22381"}},
		{"localhost:4000", 3, []string{
			"127.0.0.1:4000", "127.0.0.1:4001", "127.0.0.1:4002",
			"127.0.0.1:4003", "127.0.0.1:4004", "127.0.0.1:4005",
			"127.0.0.1:4006", "127.0.0.1:4007", "127.0.0.1:4008"}},
		{"[::1]:4000", 1, []string{"[::1]:4000", "[::1]:4001", "[::1]:4002"}},
		{"::1", 1, []string{"[::1]:2379", "[::1]:2380", "[::1]:2381"}},
		{"192.0.2.7", 1, []string{"192.0.2.7:2379", "192.0.2.7:2380", "127.0.0.1:2381"}},
	}
	for _, tt := range tests {
		places, err := place(tt.listen, tt.members)
		if err != nil {
			t.Errorf("%s: %v", tt.listen, err)
			continue
		}
		var got []string
		for _, p := range places {
			got = append(got, p.client.String(), p.peer.String(), p.metrics.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.listen, got, tt.want)
		}
	}
}

func TestListenMistakes(t *testing.T) {
	tests := []struct{ listen, want string }{
		{"", "not an IP address"},
		{"example.com", "not an IP address"},
		{":2379", "not an IP address"},
		{"0.0.0.0", "all of them"},
		{"[::]:2379", "all of them"},
		{"fe80::1%lo", "no address"},
		{"224.0.0.1", "no address"},
		{"127.0.0.1:0", "port"},
		{"127.0.0.1:70000", "port"},
		{"127.0.0.1:65530", "lower port"},
	}
	for _, tt := range tests {
		if _, err := place(tt.listen, 3); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.listen, err, tt.want)
		}
	}
}

func TestPortInUseIsNamedWithItsFix(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := netip.MustParseAddrPort(l.Addr().String())
	p := placement{"m1", netip.MustParseAddrPort("127.0.0.1:0"), taken, netip.MustParseAddrPort("127.0.0.1:0")}
	for chosen, want := range map[bool]string{false: "--listen", true: "ss -ltnp"} {
		err := checkFree([]placement{p}, chosen)
		if err == nil {
			t.Fatal("a port in use passes for free")
		}
		for _, part := range []string{taken.String(), "peer", "m1"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v does not name %s", err, part)
			}
		}
		if hint := hintOf(t, err); !strings.Contains(hint, want) {
			t.Errorf("hint %q, want %q", hint, want)
		}
	}
	p.peer = netip.MustParseAddrPort("127.0.0.1:0")
	if err := checkFree([]placement{p}, false); err != nil {
		t.Errorf("control: %v", err)
	}
}

func hintOf(t *testing.T, err error) string {
	t.Helper()
	f, ok := err.(interface{ Hint() string })
	if !ok {
		t.Fatalf("%v has no hint", err)
	}
	return f.Hint()
}
