package reseal

import (
	"fmt"

	"github.com/etcdguard/etcdguard/seal"
)

// Form is how values are to be stored: sealed under the data key Key of Ring, or, as
// the zero Form, in plaintext.
type Form struct {
	Ring seal.RingID
	Key  seal.KeyNumber
}

// Sealed reports whether the form is one of sealed values.
func (f Form) Sealed() bool { return f.Key != 0 }

func (f Form) String() string {
	if !f.Sealed() {
		return "plaintext"
	}
	return fmt.Sprintf("sealed under data key %d", f.Key)
}

// has reports whether stored has the form, as far as can be seen without a key.
func (f Form) has(stored []byte) bool {
	if !f.Sealed() {
		return !seal.IsSealed(stored)
	}
	e, err := seal.Parse(stored)
	return err == nil && e.Ring == f.Ring && e.Key == f.Key
}

// size is how long a stored value is in this form.
func (f Form) size(stored []byte) int {
	size := len(stored)
	if e, err := seal.Parse(stored); err == nil {
		size = e.Size
	}
	if f.Sealed() {
		size += seal.Overhead
	}
	return size
}
