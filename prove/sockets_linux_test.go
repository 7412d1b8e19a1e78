package prove

import (
	"strings"
	"testing"
)

func TestParseSockets(t *testing.T) {
	tests := []struct {
		parse      func([]string) (string, string, error)
		line, want string
	}{
		{parseTCP, "0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1", "127.0.0.1:2379"},
		{parseTCP, "0: 00000000:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1", "0.0.0.0:2379"},
		{parseTCP, "0: 0100007F:094B 0100007F:1000 01 00000000:00000000 00:00000000 00000000 0 0 4711 1", ""},
		{parseTCP, "0: 00000000000000000000000001000000:094B 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4711 1", "[::1]:2379"},
		{parseUnix, "0: 00000002 00000000 00010000 0001 01 4711 /run/x", "unix:/run/x"},
		{parseUnix, "0: 00000003 00000000 00000000 0001 03 4711 /run/x", ""},
	}
	for _, tt := range tests {
		inode, addr, err := tt.parse(strings.Fields(tt.line))
		if err != nil || addr != tt.want || addr != "" && inode != "4711" {
			t.Errorf("%s: %q %q %v, want %q", tt.line, inode, addr, err, tt.want)
		}
	}
	for _, line := range []string{"0: xx:094B 0:0 0A 0 0 0 0 0 1 1", "0: 0100007F:zzzz 0:0 0A 0 0 0 0 0 1 1"} {
		if _, _, err := parseTCP(strings.Fields(line)); err == nil {
			t.Errorf("%s: parsed", line)
		}
	}
}
