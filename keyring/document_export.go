package keyring

import (
	"context"
	"fmt"
	"slices"

	"github.com/etcdguard/etcdguard/kms"
)

// same is the document of this state with other wraps, at the same generation.
func (o *Opened) same(what string, change func(*Opened) error) (*Document, error) {
	n := &Opened{doc: o.doc.clone(), keys: o.keys}
	err := change(n)
	if err == nil {
		n.doc.MAC = n.mac()
		err = n.doc.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s ring %v generation %d: %w", what, o.doc.Ring, o.doc.Generation, err)
	}
	return n.doc, nil
}

// Export is the document with every data key wrapped by p as well: a copy to keep
// elsewhere, that opens with p when all else is lost.
func (o *Opened) Export(ctx context.Context, p kms.Provider) (*Document, error) {
	return o.same("exporting", func(n *Opened) error {
		for i := range n.doc.Keys {
			k := &n.doc.Keys[i]
			w, err := wrapKey(ctx, p, n.doc.Ring, k.Number, &n.keys[i].secret)
			if err != nil {
				return err
			}
			k.Wraps = append(slices.DeleteFunc(k.Wraps, func(old Wrap) bool { return old.Provider == w.Provider }), w)
		}
		return nil
	})
}

// WithoutExport is the document without what Export under a passphrase added: what was
// exported, byte by byte. A member does not store that, since a passphrase would be all
// that stood between its disk and the values.
func (o *Opened) WithoutExport() (*Document, error) {
	return o.same("taking the export's wraps from", func(n *Opened) error {
		for i := range n.doc.Keys {
			k := &n.doc.Keys[i]
			k.Wraps = slices.DeleteFunc(k.Wraps, func(w Wrap) bool { return w.Provider == kms.ExportName })
		}
		return nil
	})
}

// Revived is WithoutExport with every data key wrapped by providers, at the same
// generation: what a later document of this ring, in etcd, can be opened with.
func (o *Opened) Revived(ctx context.Context, providers []kms.Provider) (*Document, error) {
	return o.same("wrapping the data keys of", func(n *Opened) error {
		return n.rewrap(ctx, providers, []string{kms.ExportName})
	})
}
