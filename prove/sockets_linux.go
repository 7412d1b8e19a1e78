package prove

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listening returns every address that a process accepts connections on, as the
// kernel has it: TCP as host:port, unix sockets as unix:path.
func listening(pid int) ([]string, error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	entries, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return nil, untried("looking at the open files of process %d: %w", pid, err)
	}
	sockets := map[string]bool{} // by inode
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(proc, "fd", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed since
		}
		if err != nil {
			return nil, untried("looking at the open files of process %d: %w", pid, err)
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var out []string
	for table, parse := range map[string]func([]string) (inode, addr string, err error){
		"tcp": parseTCP, "tcp6": parseTCP, "unix": parseUnix,
	} {
		data, err := os.ReadFile(filepath.Join(proc, "net", table))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, untried("reading the sockets of process %d: %w", pid, err)
		}
		for _, line := range strings.Split(string(data), "\n")[1:] {
			inode, addr, err := parse(strings.Fields(line))
			if err != nil {
				return nil, untried("reading %s/net/%s: %w", proc, table, err)
			}
			if addr != "" && sockets[inode] {
				out = append(out, addr)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// parseTCP reads a line of /proc/net/tcp or tcp6; addr is "" unless it listens.
func parseTCP(f []string) (inode, addr string, err error) {
	const listen = "0A" // TCP_LISTEN
	if len(f) < 10 || f[3] != listen {
		return "", "", nil
	}
	host, port, _ := strings.Cut(f[1], ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return "", "", fmt.Errorf("address %q: %w", f[1], err)
	}
	// The kernel prints the address as 32-bit numbers in its own byte order.
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return "", "", fmt.Errorf("address %q is none", f[1])
	}
	return f[9], netip.AddrPortFrom(ip.Unmap(), uint16(number)).String(), nil
}

// parseUnix reads a line of /proc/net/unix; addr is "" unless it listens.
func parseUnix(f []string) (inode, addr string, err error) {
	const accepting = 0x10000 // __SO_ACCEPTCON
	if len(f) < 7 {
		return "", "", nil
	}
	flags, err := strconv.ParseUint(f[3], 16, 32)
	if err != nil {
		return "", "", fmt.Errorf("flags %q: %w", f[3], err)
	}
	if flags&accepting == 0 {
		return "", "", nil
	}
	addr = "unix:"
	if len(f) > 7 {
		addr += f[7]
	}
	return f[6], addr, nil
}
