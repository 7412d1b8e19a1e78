package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/etcdguard/etcdguard/internal/privatefile"
)

// The signer's files in the directory of a log.
const (
	keyFile      = "signer.key"
	nextKeyFile  = "signer.key.next" // while a key takes over
	publicFile   = "signer.pub"
	handoverFile = "signer.handovers" // a note a line, each a JSON string; they outlive the segments

	originPrefix = "etcdguard.dev/audit/"

	maxKeyFile    = 4 << 10
	maxPublicFile = 1 << 20
)

// Signer signs a log's checkpoints. It doesn't change; a key that takes over is another
// Signer.
type Signer struct {
	dir       string
	signer    note.Signer
	public    []string
	handovers []string
}

// CreateSigner makes a log's identity: its origin and its first key. The error wraps
// fs.ErrExist where there is one.
func CreateSigner(dir string) (*Signer, error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("making the log's signing key: %w", err)
	}
	private, public, err := note.GenerateKey(rand.Reader, originPrefix+hex.EncodeToString(id[:]))
	if err != nil {
		return nil, fmt.Errorf("making the log's signing key: %w", err)
	}
	s := &Signer{dir: dir, public: []string{public}}
	if s.signer, err = note.NewSigner(private); err != nil {
		return nil, fmt.Errorf("making the log's signing key: %w", err)
	}
	// A crash after this leaves a key alone, which LoadSigner takes.
	if err := privatefile.Create(filepath.Join(dir, keyFile), []byte(private+"\n")); err != nil {
		return nil, fmt.Errorf("making the log's signing key: %w", err)
	}
	return s, s.writePublic()
}

// LoadSigner reads the signer of a log. handover is the note of the last signer event
// in the log's newest segment, or empty: a crash may have come between that event and
// the files, and what the log says counts. The error wraps fs.ErrNotExist where there
// is no signer.
func LoadSigner(dir, handover string) (*Signer, error) {
	if err := finishHandover(dir, handover); err != nil {
		return nil, fmt.Errorf("finishing the change of the log's signing key: %w", err)
	}
	s := &Signer{dir: dir}
	var public string
	var err error
	if s.signer, public, err = readKey(filepath.Join(dir, keyFile)); err != nil {
		return nil, err
	}
	if s.public, s.handovers, err = readPublic(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(s.public) == 0 {
		s.public = []string{public}
		return s, s.writePublic()
	}
	if last := s.public[len(s.public)-1]; last != public {
		return nil, fmt.Errorf("reading the log's signing key: %s has another key than %s: put back the one that belongs to %s, or begin a new log in another directory", keyFile, publicFile, last)
	}
	return s, nil
}

// readKey reads a private key, and gives the public one that belongs to it.
func readKey(file string) (note.Signer, string, error) {
	data, err := privatefile.Read(file, maxKeyFile)
	if err != nil {
		return nil, "", fmt.Errorf("reading the log's signing key: %w", err)
	}
	text := strings.TrimSpace(string(data))
	signer, err := note.NewSigner(text)
	if err != nil { // its text may hold a part of the key
		return nil, "", fmt.Errorf("reading the log's signing key: there is none in %s: put back a copy, or begin a new log in another directory", file)
	}
	// PRIVATE+KEY+<name>+<hash>+<algorithm and seed>, as NewSigner has just found.
	seed, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 5)[4])
	if err != nil {
		return nil, "", fmt.Errorf("reading the log's signing key: %s is not understood", file)
	}
	private := ed25519.NewKeyFromSeed(seed[1:])
	public, err := note.NewEd25519VerifierKey(signer.Name(), private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", fmt.Errorf("reading the log's signing key: %w", err)
	}
	return signer, public, nil
}

// readPublic reads what a verifier finds in the directory: keys, and the hand-overs
// between them.
func readPublic(dir string) (public, handovers []string, err error) {
	data, err := readBounded(filepath.Join(dir, publicFile), maxPublicFile)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the log's verifier keys: %w", err)
	}
	public = strings.Fields(string(data))
	data, err = readBounded(filepath.Join(dir, handoverFile), maxPublicFile)
	if errors.Is(err, fs.ErrNotExist) {
		return public, nil, nil
	}
	if err != nil {
		return public, nil, fmt.Errorf("reading the log's hand-overs: %w", err)
	}
	for line := range bytes.Lines(data) {
		var text string
		if err := json.Unmarshal(line, &text); err != nil {
			return public, handovers, fmt.Errorf("reading the log's hand-overs: %s: a line is no note: %w", handoverFile, err)
		}
		handovers = append(handovers, text)
	}
	return public, handovers, nil
}

func readBounded(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", file, limit)
	}
	return os.ReadFile(file)
}

func (s *Signer) writePublic() error {
	if len(s.handovers) > 0 {
		var lines []byte
		for _, h := range s.handovers {
			line, err := json.Marshal(h)
			if err != nil {
				return fmt.Errorf("writing the log's hand-overs: %w", err)
			}
			lines = append(append(lines, line...), '\n')
		}
		if err := privatefile.Replace(filepath.Join(s.dir, handoverFile), lines); err != nil {
			return fmt.Errorf("writing the log's hand-overs: %w", err)
		}
	}
	if err := privatefile.Replace(filepath.Join(s.dir, publicFile), []byte(strings.Join(s.public, "\n")+"\n")); err != nil {
		return fmt.Errorf("writing the log's verifier keys: %w", err)
	}
	return nil
}

// Origin is the log's name.
func (s *Signer) Origin() string { return s.signer.Name() }

// Public are the log's verifier keys, oldest first; the last one signs.
func (s *Signer) Public() []string { return slices.Clone(s.public) }

// Checkpoint is the note that says that the first size events have that root.
func (s *Signer) Checkpoint(size int64, root tlog.Hash) (string, error) {
	return signNote(Checkpoint{Origin: s.Origin(), Size: size, Root: root}, s.signer)
}

func signNote(c Checkpoint, signers ...note.Signer) (string, error) {
	signed, err := note.Sign(&note.Note{Text: c.text()}, signers...)
	if err != nil {
		return "", fmt.Errorf("signing a checkpoint: %w", err)
	}
	return string(signed), nil
}

// A Handover is a new key that is ready to take over.
type Handover struct {
	// Note is for a signer event, whose number is the size it was made for. It is
	// signed by both keys.
	Note string

	from *Signer
}

// Handover makes a new key and has the old one introduce it, in a log of size events
// with that root. The event with its note must be the next in the log; when it is on
// stable storage, Finish puts the new key in force.
func (s *Signer) Handover(size int64, root tlog.Hash) (*Handover, error) {
	private, public, err := note.GenerateKey(rand.Reader, s.Origin())
	if err != nil {
		return nil, fmt.Errorf("making the log's next signing key: %w", err)
	}
	next, err := note.NewSigner(private)
	if err != nil {
		return nil, fmt.Errorf("making the log's next signing key: %w", err)
	}
	text, err := signNote(Checkpoint{Origin: s.Origin(), Size: size, Root: root, next: public}, s.signer, next)
	if err != nil {
		return nil, err
	}
	// A crash after this, but before the event is in the log, leaves a key that nobody
	// knows of; the next hand-over replaces it.
	if err := privatefile.Replace(filepath.Join(s.dir, nextKeyFile), []byte(private+"\n")); err != nil {
		return nil, fmt.Errorf("making the log's next signing key: %w", err)
	}
	return &Handover{text, s}, nil
}

// Finish puts the new key in force.
func (h *Handover) Finish() (*Signer, error) { return LoadSigner(h.from.dir, h.Note) }

// finishHandover brings the files to what a signer event says. Each step can be done
// again.
func finishHandover(dir, handover string) error {
	if handover == "" {
		return nil
	}
	c, err := Unverified(handover)
	if err != nil {
		return err
	}
	_, public, err := readKey(filepath.Join(dir, nextKeyFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && public != c.next {
		return nil // done before, or a key that did not come as far as the log
	}
	if err != nil {
		return err
	}
	s := &Signer{dir: dir}
	if s.public, s.handovers, err = readPublic(dir); err != nil {
		return err
	}
	if !slices.Contains(s.handovers, handover) {
		s.handovers = append(s.handovers, handover)
	}
	if !slices.Contains(s.public, public) {
		s.public = append(s.public, public)
	}
	if err := s.writePublic(); err != nil {
		return err
	}
	// The old key is gone after this: nobody can sign its past anew.
	if err := os.Rename(filepath.Join(dir, nextKeyFile), filepath.Join(dir, keyFile)); err != nil {
		return err
	}
	return privatefile.SyncDir(filepath.Join(dir, keyFile))
}
