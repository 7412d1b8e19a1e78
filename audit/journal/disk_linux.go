package journal

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func (f osFile) Datasync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

func (d dirDisk) Space() (free, total int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(string(d), &s); err != nil {
		return 0, 0, os.NewSyscallError("statfs", err)
	}
	return int64(s.Bavail) * s.Bsize, int64(s.Blocks) * s.Bsize, nil
}

// Background gives the goroutine a thread of its own with the idle class of ioprio_set(2).
// Where it is refused, or the scheduler of the disk does not know it, the pauses between
// writes have to do.
func (d dirDisk) Background() {
	const whoProcess, self, classIdle = 1, 0, 3 << 13
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, self, classIdle)
}
