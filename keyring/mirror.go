package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/etcdguard/etcdguard/internal/privatefile"
	"github.com/etcdguard/etcdguard/seal"
)

// The mirror is the wrapped document on a member's disk. It is what a member opens
// its ring from when etcd's copy is gone, or is older than what this member has seen;
// so it is never taken back, and never to another ring, but by an operator who names
// the ring that goes.

// MirrorName is the file of the mirror in a member's data directory, where the
// configuration names no other.
const MirrorName = "etcdguard-ring.json"

// MirrorConflict is a document that WriteMirror does not put in the place of another.
type MirrorConflict struct {
	File             string
	There, New       seal.RingID
	ThereGen, NewGen uint64 // generations
}

func (e *MirrorConflict) Error() string {
	if e.There != e.New {
		return fmt.Sprintf("writing the mirror %s: it holds ring %v generation %d, and not ring %v, of which this is generation %d",
			e.File, e.There, e.ThereGen, e.New, e.NewGen)
	}
	return fmt.Sprintf("writing the mirror %s: it holds generation %d of ring %v, and this is the earlier generation %d",
		e.File, e.ThereGen, e.There, e.NewGen)
}

// Hint is the way out.
func (e *MirrorConflict) Hint() string {
	return fmt.Sprintf("if the data of this member is that of the new one: etcdguard ring import --replace-ring %v; what is there is kept beside it", e.There)
}

// ReadMirror reads the mirror; it is nil where there is none. A file that others can
// read or write is refused.
func ReadMirror(file string) (*Document, error) {
	data, err := privatefile.Read(file, maxDocument+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the mirror of the ring: %w", err)
	}
	d, err := ParseDocument(data)
	if err != nil {
		return nil, unreadableMirror{fmt.Errorf("reading the mirror of the ring, %s: %w; if it is damaged, move it away, and the member writes it again from etcd", file, err)}
	}
	return d, nil
}

// unreadableMirror is a mirror that is this user's alone, and whose content is no
// document that this etcdguard knows.
type unreadableMirror struct{ error }

func (e unreadableMirror) Unwrap() error { return e.error }

// WriteMirror keeps d as the mirror, whole or not at all, also across a power loss. A
// later generation of the same ring that is there stays, and so does another ring: the
// error is a *MirrorConflict then. What is there and can't be read as a document, after
// damage or from a later etcdguard, is moved to the name with ".unreadable" added: d is
// what the member has in force, and needs a mirror.
func WriteMirror(file string, d *Document) error {
	return changeMirror(file, func(there *Document, unreadable error) error {
		if unreadable != nil {
			if err := os.Rename(file, file+".unreadable"); err != nil {
				return errors.Join(unreadable, err)
			}
		}
		if there != nil {
			if there.Ring != d.Ring || there.Generation > d.Generation {
				return &MirrorConflict{File: file, There: there.Ring, New: d.Ring, ThereGen: there.Generation, NewGen: d.Generation}
			}
			if bytes.Equal(there.Marshal(), d.Marshal()) {
				return nil
			}
		}
		return privatefile.Replace(file, d.Marshal())
	})
}

// ReplaceMirror puts d in the place of whatever generation of the ring old is there,
// and keeps that beside it. It is for an operator who knows that old, or a later
// generation, is not what this member's data needs.
func ReplaceMirror(file string, d *Document, old seal.RingID) (kept string, err error) {
	err = changeMirror(file, func(there *Document, unreadable error) error {
		if unreadable != nil {
			return unreadable
		}
		if there != nil && there.Ring != old {
			return fmt.Errorf("replacing the mirror %s: it holds ring %v, and not %v", file, there.Ring, old)
		}
		if there != nil {
			if kept, err = setAside(file, there); err != nil {
				return err
			}
		}
		return privatefile.Replace(file, d.Marshal())
	})
	return kept, err
}

// SetMirrorAside moves the mirror of a ring that is no longer in use out of the way, to
// a name that tells its ring and generation; backups may still be sealed under it. It
// is no error if the mirror is gone or of another ring.
func SetMirrorAside(file string, ring seal.RingID) (kept string, err error) {
	err = changeMirror(file, func(there *Document, unreadable error) error {
		if unreadable != nil {
			return unreadable
		}
		if there == nil || there.Ring != ring {
			return nil
		}
		if kept, err = setAside(file, there); err != nil {
			return err
		}
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("setting the mirror aside: %w", err)
		}
		return privatefile.SyncDir(file)
	})
	return kept, err
}

// setAside copies a mirror to where nothing overwrites it.
func setAside(file string, d *Document) (kept string, err error) {
	kept = fmt.Sprintf("%s.%v-%d", file, d.Ring, d.Generation)
	if err := privatefile.Create(kept, d.Marshal()); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("keeping the ring that was there: %w", err)
	} else if err != nil {
		there, err := ReadMirror(kept)
		if err != nil {
			return "", fmt.Errorf("keeping the ring that was there: %w", err)
		}
		if !bytes.Equal(there.Marshal(), d.Marshal()) {
			return "", fmt.Errorf("keeping the ring that was there: %s is another document of that ring and generation; move it away", kept)
		}
	}
	return kept, nil
}

// changeMirror looks and writes without another process in between: a member and an
// import can be at the same mirror.
func changeMirror(file string, change func(there *Document, unreadable error) error) error {
	unlock, err := privatefile.Lock(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing the mirror of the ring: there is no directory %s; it is there once the member ran, or its data was restored", filepath.Dir(file))
	}
	if err != nil {
		return err
	}
	defer unlock()
	there, err := ReadMirror(file)
	if errors.As(err, new(unreadableMirror)) {
		return change(nil, err)
	}
	if err != nil {
		return err
	}
	return change(there, nil)
}
