//go:build !linux

package member

import "syscall"

// diesWithThisProcess is for the clean-up of each test alone.
func diesWithThisProcess() *syscall.SysProcAttr { return nil }
