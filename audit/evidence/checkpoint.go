package evidence

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Checkpoint is what a log signs: that the tree of its first Size events has Root
// (c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash

	// next is the verifier key that signs from here on, where the signer hands over:
	// an extension line.
	next string
}

const (
	// maxNote bounds a note in bytes; ours have about 300.
	maxNote = 4 << 10

	nextKey = "signer "
)

func (c Checkpoint) text() string {
	text := fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, c.Root)
	if c.next != "" {
		text += nextKey + c.next + "\n"
	}
	return text
}

// parseCheckpoint reads the text of a note. It takes exactly what text writes.
func parseCheckpoint(text string) (c Checkpoint, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) < 4 || len(lines) > 5 || lines[len(lines)-1] != "" {
		return c, errors.New("it is no checkpoint: that is an origin, a size and a root, a line each")
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 {
		return Checkpoint{}, fmt.Errorf("it is no checkpoint: %q is no size", lines[1])
	}
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("it is no checkpoint: %q is no root", lines[2])
	}
	if len(lines) == 5 {
		c.next = strings.TrimPrefix(lines[3], nextKey)
	}
	if c.text() != text || c.Origin == "" {
		return Checkpoint{}, errors.New("it is no checkpoint as etcdguard writes it")
	}
	return c, nil
}

// Unverified reads a checkpoint without looking at its signatures: what it says is
// somebody's claim.
func Unverified(text string) (Checkpoint, error) {
	n, err := openNote(text, nil)
	if err != nil {
		return Checkpoint{}, err
	}
	return parseCheckpoint(n.Text)
}

// openNote opens a note whose known signatures must be good, also if there is none.
func openNote(text string, known note.Verifiers) (*note.Note, error) {
	if len(text) > maxNote {
		return nil, fmt.Errorf("a note of %d bytes: none has more than %d", len(text), maxNote)
	}
	n, err := note.Open([]byte(text), known)
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		return unverified.Note, nil
	}
	return n, err
}
