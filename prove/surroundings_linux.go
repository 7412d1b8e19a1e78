package prove

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// system is where the kernel shows itself; tests have their own.
var system = struct{ proc, sys string }{"/proc", "/sys"}

// encryptedBelow looks for fscrypt on the folder (ioctl FS_IOC_GET_ENCRYPTION_POLICY_EX,
// linux/fscrypt.h) and for dm-crypt on the device under it, through all layers of
// device mapper (LVM on LUKS, say).
func encryptedBelow(what, path, advice string) Surrounding {
	s := Surrounding{What: what, State: Unknown, Advice: advice}
	if fscrypt(path) {
		return Surrounding{What: what, State: Good, Seen: "fscrypt encrypts the folder"}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		s.Seen = fmt.Sprintf("looking at %s: %v", path, err)
		return s
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	if unix.Major(st.Dev) == 0 {
		s.Seen = "no block device of its own (" + device + "): a network, overlay or memory file system"
		return s
	}
	crypt, err := dmCrypt(device, 0)
	switch {
	case err != nil:
		s.Seen = err.Error()
	case crypt:
		return Surrounding{What: what, State: Good, Seen: "dm-crypt under block device " + device}
	default:
		s.State, s.Seen = Bad, "block device "+device+" is not encrypted by the kernel; the disk itself may be"
	}
	return s
}

func fscrypt(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	const getPolicyEx = 0xc0096616 // _IOWR('f', 22, __u8[9])
	var arg struct {
		size   uint64
		policy [24]byte
	}
	arg.size = uint64(len(arg.policy))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), getPolicyEx, uintptr(unsafe.Pointer(&arg)))
	return errno == 0
}

// dmCrypt reports whether a block device, or all that it is made of, is a dm-crypt
// target: their UUIDs begin with "CRYPT-".
func dmCrypt(device string, depth int) (bool, error) {
	const deepest = 16 // a circle would be the kernel's fault, and ours to survive
	if depth > deepest {
		return false, errors.New("block devices are stacked deeper than expected")
	}
	dir := filepath.Join(system.sys, "dev", "block", device)
	if uuid, err := os.ReadFile(filepath.Join(dir, "dm", "uuid")); err == nil && strings.HasPrefix(string(uuid), "CRYPT-") {
		return true, nil
	}
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if errors.Is(err, fs.ErrNotExist) {
		// A partition has no slaves of its own, and a device that sysfs does not have
		// cannot be judged.
		if _, err := os.Stat(dir); err != nil {
			return false, fmt.Errorf("looking at block device %s: %w", device, err)
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking below block device %s: %w", device, err)
	}
	for _, slave := range slaves {
		number, err := os.ReadFile(filepath.Join(dir, "slaves", slave.Name(), "dev"))
		if err != nil {
			return false, fmt.Errorf("looking below block device %s: %w", device, err)
		}
		crypt, err := dmCrypt(strings.TrimSpace(string(number)), depth+1)
		if err != nil || !crypt {
			return false, err
		}
	}
	return len(slaves) > 0, nil
}

func swap() Surrounding {
	const advice = "turn swap off (swapoff -a) or encrypt it: values and keys are in the member's memory"
	s := Surrounding{What: "swap", State: Unknown, Advice: advice}
	data, err := os.ReadFile(filepath.Join(system.proc, "swaps"))
	if err != nil {
		s.Seen = err.Error()
		return s
	}
	var open []string
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		name, _, _ := strings.Cut(line, " ")
		if strings.HasPrefix(filepath.Base(name), "zram") {
			continue // memory
		}
		var st unix.Stat_t
		crypt := false
		if err := unix.Stat(name, &st); err == nil {
			number := st.Rdev // a partition
			if st.Mode&unix.S_IFMT == unix.S_IFREG {
				number = st.Dev // a file
			}
			crypt, _ = dmCrypt(fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)), 0)
		}
		if !crypt {
			open = append(open, name)
		}
	}
	if len(open) > 0 {
		s.State, s.Seen = Bad, "not encrypted: "+strings.Join(open, ", ")
		return s
	}
	return Surrounding{What: s.What, State: Good, Seen: "none that is not encrypted"}
}

func coreDumps(pid int) Surrounding {
	s := Surrounding{What: "core dumps", State: Unknown, Seen: "the member's process is not known here",
		Advice: "set its core limit to 0 (LimitCORE=0 in the systemd unit): a core file holds values and keys"}
	if pid == 0 {
		return s
	}
	data, err := os.ReadFile(filepath.Join(system.proc, strconv.Itoa(pid), "limits"))
	if err != nil {
		s.Seen = err.Error()
		return s
	}
	for _, line := range strings.Split(string(data), "\n") {
		rest, found := strings.CutPrefix(line, "Max core file size")
		if fields := strings.Fields(rest); found && len(fields) >= 2 {
			if fields[0] == "0" {
				return Surrounding{What: s.What, State: Good, Seen: "the process's limit is 0"}
			}
			s.State, s.Seen = Bad, "the process may write a core file of "+fields[0]+" bytes"
			return s
		}
	}
	s.Seen = "the process's limits do not show it"
	return s
}
