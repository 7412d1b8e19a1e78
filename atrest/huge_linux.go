package atrest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of one on the machines that have them: less is not worth asking.
const hugePage = 2 << 20

// huge asks the kernel for huge pages below the slots. They are used in no order: with
// ordinary pages, nearly every new key costs a page fault, and every use a walk of the
// page tables. A kernel that has none to give loses time only.
func huge(slots []revision) {
	page := uintptr(unix.Getpagesize())
	begin := unsafe.Pointer(unsafe.SliceData(slots))
	size := uintptr(len(slots)) * unsafe.Sizeof(revision{})
	skip := -uintptr(begin) & (page - 1) // the kernel wants whole pages
	if size < hugePage+skip {
		return
	}
	all := unsafe.Slice((*byte)(begin), size)
	_ = unix.Madvise(all[skip:skip+(size-skip)&^(page-1)], unix.MADV_HUGEPAGE)
}
