package prove

// Surrounding is something around a member that no software in it can promise, and
// what was seen of it.
type Surrounding struct {
	What   string `json:"what"`
	State  State  `json:"state"`
	Seen   string `json:"seen"`
	Advice string `json:"advice,omitempty"` // when it is not good
}

// State is how a Surrounding was found.
type State string

const (
	Good    State = "good"
	Bad     State = "bad"
	Unknown State = "unknown"
)

// Surroundings looks at what lies under and around a member's data directory:
// whether the device or the folder is encrypted, where memory may be written to, and
// whether a crash would write it. pid is the member's process; 0 is unknown.
func Surroundings(dataDir string, pid int) []Surrounding {
	return []Surrounding{
		encryptedBelow("the device under the data directory", dataDir,
			"put the data directory on LUKS or fscrypt: overwritten blocks and a stolen disk are beyond any software above it"),
		swap(),
		coreDumps(pid),
	}
}
