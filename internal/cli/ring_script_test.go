package cli

import (
	"context"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/etcdguard/etcdguard/keyring"
)

// newRing GUARD-CONFIG FILE GENERATION: makes the mirror of a ring as a member does,
// and goes on to that generation: 2 has a second data key, 3 has it active.
func newRing(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	place := ringPlace{guardConfig: ts.MkAbs(args[0])}
	at, err := place.open()
	ts.Check(err)
	o, err := keyring.Create(ctx, keyring.Strict, at.providers, time.Now())
	ts.Check(err)
	generation, err := strconv.Atoi(args[2])
	ts.Check(err)
	if generation > 1 {
		o, err = o.WithNewKey(ctx, at.providers, time.Now())
		ts.Check(err)
	}
	if generation > 2 {
		o, err = o.WithActive(2)
		ts.Check(err)
	}
	ts.Check(keyring.WriteMirror(ts.MkAbs(args[1]), o.Document()))
}
