package member

import "syscall"

// diesWithThisProcess leaves nothing running when a test is killed.
func diesWithThisProcess() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
