package keyring

import (
	"fmt"
	"strings"

	"github.com/etcdguard/etcdguard/seal"
)

// UnopenedError says which data keys no provider could unwrap. What is needed is in
// it: provider names and key ids.
type UnopenedError struct {
	Ring       seal.RingID
	Generation uint64
	Keys       []UnopenedKey
}

// UnopenedKey is a data key that no provider could unwrap.
type UnopenedKey struct {
	Number seal.KeyNumber
	Tried  []Attempt // in configured order; then wraps of providers that are not configured
}

// Attempt is why one provider could not unwrap a data key.
type Attempt struct {
	Provider string
	KeyID    string // of the key-encryption key that is wanted; "" if it has no wrap
	Err      error
}

func (a Attempt) String() string {
	if a.KeyID == "" {
		return fmt.Sprintf("provider %q: %v", a.Provider, a.Err)
	}
	return fmt.Sprintf("provider %q, key id %q: %v", a.Provider, a.KeyID, a.Err)
}

func (e *UnopenedError) Error() string {
	const shown = 3
	var b strings.Builder
	fmt.Fprintf(&b, "opening ring %v generation %d", e.Ring, e.Generation)
	for i, k := range e.Keys {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more data keys", len(e.Keys)-shown)
			break
		}
		separator := ": "
		if i > 0 {
			separator = "; "
		}
		fmt.Fprintf(&b, "%sdata key %d opens with no provider", separator, k.Number)
		for j, a := range k.Tried {
			if separator = ", "; j == 0 {
				separator = " ("
			}
			b.WriteString(separator + a.String())
		}
		if len(k.Tried) > 0 {
			b.WriteString(")")
		}
	}
	return b.String()
}

// Hint is the way out.
func (e *UnopenedError) Hint() string {
	return "bring one of these providers back, or put an export in place that was made with --passphrase-file: etcdguard ring import --help"
}
