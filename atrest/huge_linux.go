package atrest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// huge asks the kernel for huge pages below the slots. They are used in no order, so that
// ordinary pages cost a fault for each few of them, and a walk of the page tables for
// each use. Where the kernel has none to give, it is only slower.
func huge(slots []revision) {
	page := uintptr(unix.Getpagesize())
	begin := uintptr(unsafe.Pointer(unsafe.SliceData(slots)))
	size := uintptr(len(slots)) * unsafe.Sizeof(revision{})
	skip := -begin & (page - 1)
	if size < hugePage+skip {
		return
	}
	all := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(slots))), size)
	_ = unix.Madvise(all[skip:(size-skip)&^(page-1)+skip], unix.MADV_HUGEPAGE)
}

const hugePage = 2 << 20
