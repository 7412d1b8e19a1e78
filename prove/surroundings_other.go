//go:build !linux

package prove

import "runtime"

const notHere = "cannot be looked at on " + runtime.GOOS

func encryptedBelow(what, _, advice string) Surrounding {
	return Surrounding{What: what, State: Unknown, Seen: notHere, Advice: advice}
}

func swap() Surrounding { return Surrounding{What: "swap", State: Unknown, Seen: notHere} }

func coreDumps(int) Surrounding {
	return Surrounding{What: "core dumps", State: Unknown, Seen: notHere}
}
