package keyring

import "fmt"

// Phase is how far a cluster is with sealing. A cluster goes up and down by single
// steps, and takes the next one only when every member has acknowledged the last.
type Phase uint8

const (
	// Off: values are stored as they come and returned as they are.
	Off Phase = iota
	// CanOpen: values are stored as they come; every member can open sealed ones.
	CanOpen
	// Sealing: values are stored sealed; plaintext that is there is still served.
	Sealing
	// Strict: values are stored sealed, and a value that is not is an error.
	Strict
)

var phaseNames = [...]string{"off", "can-open", "sealing", "strict"}

func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase %d", uint8(p))
}

// ParsePhase is the phase of that name.
func ParsePhase(name string) (Phase, error) {
	for p, n := range phaseNames {
		if n == name {
			return Phase(p), nil
		}
	}
	return Off, fmt.Errorf("there is no phase %q; phases are off, can-open, sealing and strict", name)
}

// MarshalText writes the phase's name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase's name.
func (p *Phase) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePhase(string(text))
	return err
}

// Seals reports whether what is written in this phase is sealed.
func (p Phase) Seals() bool { return p >= Sealing }
