package member

import (
	"runtime/debug"
	"testing"
	"unsafe"
)

// A stack that grows is moved, and what lies on it with it.
func TestAStackIsGrownInOneStep(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which moves stacks, too
	moved := func(before func()) bool {
		result := make(chan bool)
		go func() {
			before()
			var here byte
			was := uintptr(unsafe.Pointer(&here))
			descend(requestStack / 2 / 512)
			result <- was != uintptr(unsafe.Pointer(&here))
		}()
		return <-result
	}
	if !moved(func() {}) {
		t.Error("the stack of a new goroutine has room for half a request: growStack is not needed any more")
	}
	if moved(func() { growStack(0) }) {
		t.Error("the stack is moved again on the way down")
	}
}

// descend needs some 512 bytes of stack for each of its steps.
//
//go:noinline
func descend(steps int) byte {
	var frame [512]byte
	if steps > 0 {
		frame[steps] = descend(steps - 1)
	}
	return frame[len(frame)/2]
}
