package keyring

import "github.com/etcdguard/etcdguard/seal"

// Size is how long the value is that stored stands for, if it opens. In bytes.
func (r *Ring) Size(stored []byte) int {
	if r.Phase() != Off && seal.IsSealed(stored) {
		if e, err := seal.Header(stored); err == nil {
			return e.Size
		}
	}
	return len(stored)
}

// Append appends to dst the value that Open returns, with Open's errors. Neither name
// nor stored may overlap dst, its spare capacity included.
func (r *Ring) Append(dst, name, stored []byte) ([]byte, error) {
	if k := r.keyOf(stored); k != nil {
		return k.Open(dst, name, stored)
	}
	value, err := r.Open(name, stored) // it knows why, and what to do about it
	if err != nil {
		return nil, err
	}
	return append(dst, value...), nil
}

// keyOf is the data key that stored says it is sealed under; nil if there is none.
func (r *Ring) keyOf(stored []byte) *seal.Key {
	if r == nil {
		return nil
	}
	v := r.inForce.Load()
	if v.phase == Off {
		return nil
	}
	e, err := seal.Header(stored)
	if err != nil || e.Ring != v.ring {
		return nil
	}
	return v.keys[e.Key]
}
