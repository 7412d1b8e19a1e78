package member

// A goroutine begins with a stack of 2 KiB. On the way down through gRPC, etcd's
// interceptors and etcd it is moved three or four times to one twice as large, which
// takes a seventh of all the processor time of small requests. So requests are given to
// goroutines that have a large stack from the last one, and where there is none, the
// new one's is made large in one step, while little is on it.

// requestWorkers are the goroutines that wait for requests. They take turns, so more of
// them would be more memory that no cache holds, and the garbage collector halves the
// stacks of those that wait long. A watch keeps the one that it was given to; requests
// that find none get a new goroutine.
const requestWorkers = 128

// requestStack is what the way down from growStack takes at least, in bytes.
const requestStack = 6 << 10

// growStack makes room on the stack for a request, and returns zero. Like every function
// it begins by growing the stack to what it may need itself. It is only to be called
// with zero.
//
//go:noinline
func growStack(never int) byte {
	if never == 0 {
		return 0
	}
	var room [requestStack]byte
	room[never] = 1 // the compiler has to believe in it
	return room[len(room)-never]
}
