package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/etcdguard/etcdguard/keyring"
	"github.com/etcdguard/etcdguard/kms"
	"github.com/etcdguard/etcdguard/kms/kmstest"
	"github.com/etcdguard/etcdguard/seal"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600))

func providers(all ...*kmstest.Memory) (out []kms.Provider) {
	for _, p := range all {
		out = append(out, p)
	}
	return out
}

func create(t testing.TB, phase keyring.Phase, all ...*kmstest.Memory) *keyring.Opened {
	t.Helper()
	o, err := keyring.Create(t.Context(), phase, providers(all...), now)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// must is for a transition that has to succeed.
func must(t testing.TB, o *keyring.Opened, err error) *keyring.Opened {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// rotated is a ring after a rotation and with a third key prepared.
func rotated(t testing.TB, all ...*kmstest.Memory) *keyring.Opened {
	t.Helper()
	o := create(t, keyring.Strict, all...)
	step := func(n *keyring.Opened, err error) { o = must(t, n, err) }
	step(o.WithNewKey(t.Context(), providers(all...), now))
	step(o.WithActive(2))
	step(o.WithNewKey(t.Context(), providers(all...), now))
	return o
}

// stored is the document as it comes back from etcd.
func stored(t testing.TB, o *keyring.Opened) *keyring.Document {
	t.Helper()
	d, err := keyring.ParseDocument(o.Document().Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(d, o.Document()) {
		t.Errorf("%+v was stored and %+v read", o.Document(), d)
	}
	return d
}

// opensTheSame compares two states by what they seal.
func opensTheSame(t testing.TB, a, b *keyring.Opened) {
	t.Helper()
	if len(a.Keys()) != len(b.Keys()) || a.Active().Number() != b.Active().Number() || a.Phase() != b.Phase() || a.ID() != b.ID() {
		t.Fatalf("%v and %v", a, b)
	}
	for i, k := range a.Keys() {
		sealed := k.Seal(nil, []byte("/a"), []byte("value"))
		if got, err := b.Keys()[i].Open(nil, []byte("/a"), sealed); err != nil || string(got) != "value" {
			t.Errorf("data key %d: %v", k.Number(), err)
		}
	}
}

func TestADocumentOpensWithAnyOneProvider(t *testing.T) {
	a, b := kmstest.New("a"), kmstest.New("b")
	o := rotated(t, a, b)
	if g := o.Generation(); g != 4 {
		t.Errorf("generation %d after three changes", g)
	}
	for _, left := range [][]kms.Provider{providers(a), providers(b), providers(b, a)} {
		again, err := stored(t, o).Open(t.Context(), left, nil)
		if err != nil {
			t.Fatal(err)
		}
		opensTheSame(t, o, again)
	}
	a.Fail(errors.New("it is away"))
	again, err := stored(t, o).Open(t.Context(), providers(a, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	opensTheSame(t, o, again)
	if k := o.Document().Keys[0]; k.Created != now.UTC().Truncate(time.Second) || k.State != keyring.Retired {
		t.Errorf("data key 1 is %+v", k)
	}
	if o.Key(4) != nil || o.Key(2) != o.Active() || o.Active().Number() != 2 || o.Active().Ring() != o.ID() {
		t.Errorf("keys of %v are mixed up", o)
	}
}

func TestProvidersAreAskedInOrderAndNoMoreThanNeeded(t *testing.T) {
	a, b := kmstest.New("a"), kmstest.New("b")
	d := stored(t, rotated(t, a, b))
	_, before := a.Calls()
	if _, err := d.Open(t.Context(), providers(b, a), nil); err != nil {
		t.Fatal(err)
	}
	if _, after := a.Calls(); after != before {
		t.Error("the second provider is asked, though the first opens")
	}
}

// TestARunningMemberNeedsNoProvider: what it has open it goes on with, and shares the
// keys that other states of the ring use.
func TestARunningMemberNeedsNoProvider(t *testing.T) {
	p := kmstest.New("a")
	o := rotated(t, p)
	later := must(t, o, nil)
	later, err := later.WithPhase(keyring.Sealing)
	if err != nil {
		t.Fatal(err)
	}
	p.Fail(errors.New("it is away"))
	_, before := p.Calls()
	again, err := stored(t, later).Open(t.Context(), providers(p), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, after := p.Calls(); after != before {
		t.Error("a provider is asked for what is known")
	}
	for i, k := range again.Keys() {
		if k != o.Keys()[i] {
			t.Errorf("data key %d is another object now: its cache is lost", k.Number())
		}
	}
	if again.Phase() != keyring.Sealing {
		t.Errorf("%v", again)
	}
	// Of another ring nothing is taken.
	var unopened *keyring.UnopenedError
	if _, err := stored(t, later).Open(t.Context(), providers(p), create(t, keyring.Strict, kmstest.New("b"))); !errors.As(err, &unopened) {
		t.Errorf("opened with the keys of another ring: %v", err)
	}
}

// TestARingThatWentTwoWays: after a snapshot was restored, number 2 is made again, and
// it is not the data key 2 that a mirror knows.
func TestARingThatWentTwoWays(t *testing.T) {
	p := kmstest.New("a")
	first := create(t, keyring.Strict, p)
	add := func(o *keyring.Opened, at time.Time) *keyring.Opened {
		n, err := o.WithNewKey(t.Context(), providers(p), at)
		return must(t, n, err)
	}
	for _, later := range []time.Duration{time.Hour, 0} {
		one, other := add(first, now), add(first, now.Add(later))
		active, err := other.WithActive(2)
		other = must(t, active, err)
		got, err := stored(t, other).Open(t.Context(), providers(p), one)
		if err != nil {
			t.Fatal(err)
		}
		opensTheSame(t, other, got)
	}
	one, other := add(first, now), add(first, now.Add(time.Second)) // prepared only: the MAC would agree
	got, err := stored(t, other).Open(t.Context(), providers(p), one)
	if err != nil {
		t.Fatal(err)
	}
	opensTheSame(t, other, got)
}

func TestUnopenedNamesWhatIsWanted(t *testing.T) {
	a, b, c := kmstest.New("a"), kmstest.New("b"), kmstest.New("c")
	o := rotated(t, a, b)
	a.Fail(errors.New("it is away"))
	status, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stored(t, o).Open(t.Context(), providers(a, c), nil)
	var unopened *keyring.UnopenedError
	if !errors.As(err, &unopened) || len(unopened.Keys) != 3 || unopened.Ring != o.ID() {
		t.Fatalf("%v", err)
	}
	for i, k := range unopened.Keys {
		wraps := o.Document().Keys[i].Wraps
		want := fmt.Sprintf(`[provider "a", key id %q: it is away provider "c": did not wrap this data key provider "b", key id %q: is not configured here]`,
			wraps[0].KeyID, wraps[1].KeyID)
		if got := fmt.Sprint(k.Tried); got != want {
			t.Errorf("data key %d: %s\nwant %s", k.Number, got, want)
		}
		if !strings.Contains(err.Error(), wraps[0].KeyID) || strings.Contains(err.Error(), status.KeyID) {
			t.Errorf("the error names what is not wanted: %v", err)
		}
	}
	if unopened.Hint() == "" {
		t.Error("no way out")
	}
}

// TestAProviderThatHangsIsAskedOnce: or a ring of many keys would open after hours.
func TestAProviderThatHangsIsAskedOnce(t *testing.T) {
	a, b := kmstest.New("a"), kmstest.New("b")
	d := stored(t, rotated(t, a, b))
	synctest.Test(t, func(t *testing.T) {
		a.Hang()
		_, before := a.Calls()
		began := time.Now()
		if _, err := d.Open(t.Context(), providers(a, b), nil); err != nil {
			t.Error(err)
		}
		if _, after := a.Calls(); after != before+1 || time.Since(began) > time.Minute {
			t.Errorf("%d calls in %v", after-before, time.Since(began))
		}
		_, err := d.Open(t.Context(), providers(a), nil)
		var unopened *keyring.UnopenedError
		if !errors.As(err, &unopened) || !errors.Is(unopened.Keys[0].Tried[0].Err, context.DeadlineExceeded) ||
			!strings.Contains(unopened.Keys[1].Tried[0].Err.Error(), "not asked again") {
			t.Errorf("%v", err)
		}
	})
}

func TestAForgedDocumentIsRefused(t *testing.T) {
	p, q := kmstest.New("a"), kmstest.New("b")
	o, foreign := rotated(t, p, q), rotated(t, p, q)
	for what, forge := range map[string]func(d *keyring.Document){
		"phase":      func(d *keyring.Document) { d.Phase = keyring.Off },
		"generation": func(d *keyring.Document) { d.Generation++ },
		"created":    func(d *keyring.Document) { d.Keys[0].Created = d.Keys[0].Created.Add(time.Second) },
		"mac":        func(d *keyring.Document) { d.MAC[0] ^= 1 },
		"a wrap gone": func(d *keyring.Document) {
			d.Keys[1].Wraps = d.Keys[1].Wraps[1:]
		},
		"a key gone":      func(d *keyring.Document) { d.Keys = d.Keys[1:] },
		"the states":      func(d *keyring.Document) { d.Keys[1].State, d.Keys[2].State = keyring.Retired, keyring.Active },
		"an annotation":   func(d *keyring.Document) { d.Keys[0].Wraps[0].Annotations["memory.kmstest.etcdguard.dev"][0]++ },
		"the ring":        func(d *keyring.Document) { d.Ring = foreign.ID() },
		"keys of another": func(d *keyring.Document) { d.Keys = foreign.Document().Keys },
		"swapped wraps": func(d *keyring.Document) {
			d.Keys[0].Wraps, d.Keys[1].Wraps = d.Keys[1].Wraps, d.Keys[0].Wraps
		},
	} {
		d := o.Document()
		forge(d)
		if d, err := keyring.ParseDocument(d.Marshal()); err != nil {
			t.Errorf("%s: it does not even parse: %v", what, err)
		} else {
			for _, known := range []*keyring.Opened{nil, o} {
				if _, err := d.Open(t.Context(), providers(p, q), known); err == nil {
					t.Errorf("%s: a forged document opens (known: %v)", what, known != nil)
				}
			}
		}
	}
	if _, err := o.Document().Open(t.Context(), providers(p, q), nil); err != nil {
		t.Errorf("control: %v", err)
	}
	d := o.Document()
	d.Phase = keyring.Off
	if _, err := d.Open(t.Context(), providers(p), nil); !errors.Is(err, keyring.ErrForged) {
		t.Errorf("%v", err)
	}
}

// TestAnOldKeyDoesNotMakeDocuments: a data key that leaked is why keys are rotated.
func TestAnOldKeyDoesNotMakeDocuments(t *testing.T) {
	p := kmstest.New("a")
	old := create(t, keyring.Strict, p)
	thief := old
	for range 4 { // up to and over the generation that is known
		n, err := thief.WithPhase(map[bool]keyring.Phase{true: keyring.Sealing, false: keyring.Strict}[thief.Phase() == keyring.Strict])
		thief = must(t, n, err)
	}
	current, err := old.WithNewKey(t.Context(), providers(p), now)
	current = must(t, current, err)
	current, err = current.WithActive(2)
	current = must(t, current, err)
	if _, err := stored(t, thief).Open(t.Context(), providers(p), current); !errors.Is(err, keyring.ErrForged) {
		t.Errorf("opened: %v", err)
	}
	if _, err := stored(t, old).Open(t.Context(), providers(p), current); err != nil {
		t.Errorf("control: an earlier document opens: %v", err)
	}
}

// TestAWrapFitsItsDataKeyOnly, though the provider itself binds it to nothing.
func TestAWrapFitsItsDataKeyOnly(t *testing.T) {
	p := kmstest.New("a")
	one, two := rotated(t, p), rotated(t, p)
	d := one.Document()
	d.Keys[0].Wraps, d.Keys[1].Wraps = d.Keys[1].Wraps, d.Keys[0].Wraps
	d.Keys[2].Wraps = two.Document().Keys[2].Wraps
	_, err := d.Open(t.Context(), providers(p), nil)
	var unopened *keyring.UnopenedError
	if !errors.As(err, &unopened) || len(unopened.Keys) != 3 || strings.Count(err.Error(), "swapped or altered") != 3 {
		t.Errorf("%v", err)
	}
	good := one.Document()
	plain, err := p.Decrypt(t.Context(), "", good.Keys[0].Wraps[0].Wrapped)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range [][]byte{[]byte("x"), []byte("not a data key at all"), plain[:len(plain)-1], append(plain, 0)} {
		w, err := p.Encrypt(t.Context(), "", other)
		if err != nil {
			t.Fatal(err)
		}
		good.Keys[0].Wraps[0].Wrapped = w
		if _, err := good.Open(t.Context(), providers(p), nil); !errors.As(err, &unopened) {
			t.Errorf("%d other bytes are taken for a data key: %v", len(other), err)
		}
	}
}

func TestCreatingNeedsEveryProvider(t *testing.T) {
	for what, fault := range map[string]func(*kmstest.Memory){
		"does not wrap":                func(m *kmstest.Memory) { m.Fail(errors.New("it is away")) },
		"may encrypt and not decrypt":  func(m *kmstest.Memory) { m.FailDecrypt(true) },
		"unwraps to something else":    func(m *kmstest.Memory) { m.Corrupt(true) },
		"names a key it does not have": func(m *kmstest.Memory) { m.SayKeyID("another") },
	} {
		good, bad := kmstest.New("good"), kmstest.New("bad")
		o := create(t, keyring.Strict, good)
		fault(bad)
		_, err := keyring.Create(t.Context(), keyring.Strict, providers(good, bad), now)
		if err == nil || !strings.Contains(err.Error(), `"bad"`) || strings.Contains(err.Error(), `"good"`) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := o.WithNewKey(t.Context(), providers(good, bad), now); err == nil {
			t.Errorf("%s: a data key was added", what)
		}
		if _, err := o.Rewrapped(t.Context(), providers(good, bad)); err == nil {
			t.Errorf("%s: it was wrapped anew", what)
		}
		if _, err := o.Export(t.Context(), bad); err == nil {
			t.Errorf("%s: it was exported", what)
		}
	}
	if _, err := keyring.Create(t.Context(), keyring.Strict, nil, now); err == nil || !strings.Contains(err.Error(), "sealing.providers") {
		t.Errorf("without a provider: %v", err)
	}
	twice := providers(kmstest.New("a"), kmstest.New("a"))
	if _, err := keyring.Create(t.Context(), keyring.Strict, twice, now); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("two providers of one name: %v", err)
	}
}

func TestTransitionsThatMakeNoSense(t *testing.T) {
	p := kmstest.New("a")
	o := rotated(t, p) // 1 retired, 2 active, 3 prepared
	before := o.Document().Marshal()
	for what, refused := range map[string]func() (*keyring.Opened, error){
		"two steps down":       func() (*keyring.Opened, error) { return o.WithPhase(keyring.CanOpen) },
		"no step":              func() (*keyring.Opened, error) { return o.WithPhase(keyring.Strict) },
		"above strict":         func() (*keyring.Opened, error) { return o.WithPhase(keyring.Strict + 1) },
		"a second new key":     func() (*keyring.Opened, error) { return o.WithNewKey(t.Context(), providers(p), now) },
		"no such key":          func() (*keyring.Opened, error) { return o.WithActive(4) },
		"an old key again":     func() (*keyring.Opened, error) { return o.WithActive(1) },
		"the active key again": func() (*keyring.Opened, error) { return o.WithActive(2) },
		"without the active":   func() (*keyring.Opened, error) { return o.Without(2) },
		"without the prepared": func() (*keyring.Opened, error) { return o.Without(3) },
		"without what is not":  func() (*keyring.Opened, error) { return o.Without(4) },
		"wrapped by none":      func() (*keyring.Opened, error) { return o.Rewrapped(t.Context(), nil) },
		"wrapped and dropped":  func() (*keyring.Opened, error) { return o.Rewrapped(t.Context(), providers(p), "a") },
	} {
		if n, err := refused(); err == nil || n != nil {
			t.Errorf("%s: %v", what, n)
		}
	}
	n, err := o.Without(1)
	n = must(t, n, err)
	if n.Key(1) != nil || n.Key(2) != o.Key(2) || len(n.Keys()) != 2 || n.Generation() != o.Generation()+1 {
		t.Errorf("%v", n)
	}
	stored(t, n)
	n, err = n.WithActive(3)
	n = must(t, n, err)
	if n.Active().Number() != 3 || n.Document().Keys[0].State != keyring.Retired {
		t.Errorf("%v", n)
	}
	if !bytes.Equal(before, o.Document().Marshal()) {
		t.Error("a state changed")
	}
	if _, err := stored(t, n).Open(t.Context(), providers(p), nil); err != nil {
		t.Error(err)
	}
}

func TestPhasesAreSingleSteps(t *testing.T) {
	o := create(t, keyring.Off, kmstest.New("a"))
	for _, p := range []keyring.Phase{keyring.CanOpen, keyring.Sealing, keyring.Strict, keyring.Sealing, keyring.CanOpen, keyring.Off} {
		n, err := o.WithPhase(p)
		o = must(t, n, err)
		if stored(t, o).Phase != p {
			t.Errorf("%v, want %v", o, p)
		}
	}
}

func TestRewrapping(t *testing.T) {
	a, b, c := kmstest.New("a"), kmstest.New("b"), kmstest.New("c")
	o := rotated(t, a, b)
	a.Rotate()
	n, err := o.Rewrapped(t.Context(), providers(a, c))
	n = must(t, n, err)
	a.Forget()
	for _, left := range [][]kms.Provider{providers(a), providers(b), providers(c)} {
		if _, err := stored(t, n).Open(t.Context(), left, nil); err != nil {
			t.Error(err)
		}
	}
	if _, err := stored(t, o).Open(t.Context(), providers(a), nil); err == nil {
		t.Error("control: the old wraps open with a key that was forgotten")
	}
	n, err = n.Rewrapped(t.Context(), providers(c), "a", "b")
	n = must(t, n, err)
	for _, k := range stored(t, n).Keys {
		if len(k.Wraps) != 1 || k.Wraps[0].Provider != "c" {
			t.Errorf("data key %d is wrapped by %v", k.Number, k.Wraps)
		}
	}
	opensTheSame(t, o, n)
}

// TestARotationCoversAChangeOfProviders: a new one wraps the old data keys, too, and so
// does one that has a new key; what is as it should be stays as it is.
func TestARotationCoversAChangeOfProviders(t *testing.T) {
	a, b, c := kmstest.New("a"), kmstest.New("b"), kmstest.New("c")
	o := create(t, keyring.Strict, a, b)
	b.Rotate()
	n, err := o.WithNewKey(t.Context(), providers(a, b, c), now)
	n = must(t, n, err)
	b.Forget()
	for _, left := range []*kmstest.Memory{a, b, c} {
		if _, err := stored(t, n).Open(t.Context(), providers(left), nil); err != nil {
			t.Error(err)
		}
	}
	before, after := o.Document().Keys[0].Wraps, n.Document().Keys[0].Wraps
	if len(after) != 3 || !reflect.DeepEqual(before[0], after[0]) || before[1].KeyID == after[1].KeyID {
		t.Errorf("%v became %v", before, after)
	}
}

// TestAnExportOpensWithItsPassphraseAlone, and with the providers still.
func TestAnExportOpensWithItsPassphraseAlone(t *testing.T) {
	a := kmstest.New("a")
	o := rotated(t, a)
	passphrase := []byte("correct horse battery staple")
	fresh := func() kms.Provider {
		p, err := kms.NewExport(passphrase)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	d, err := o.Export(t.Context(), fresh())
	if err != nil {
		t.Fatal(err)
	}
	d, err = keyring.ParseDocument(d.Marshal())
	if err != nil || d.Generation != o.Generation() {
		t.Fatal(d, err)
	}
	for _, with := range [][]kms.Provider{{fresh()}, providers(a)} {
		again, err := d.Open(t.Context(), with, nil)
		if err != nil {
			t.Fatal(err)
		}
		opensTheSame(t, o, again)
	}
	opened, err := d.Open(t.Context(), providers(a), nil)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := opened.WithoutExport(); err != nil || !bytes.Equal(back.Marshal(), o.Document().Marshal()) {
		t.Errorf("what was exported does not come back: %v", err)
	}
	b := kmstest.New("b")
	if revived, err := opened.Revived(t.Context(), providers(b)); err != nil || revived.Generation != o.Generation() || len(revived.Keys[0].Wraps) != 2 {
		t.Errorf("%+v, %v", revived, err)
	} else if known, err := revived.Open(t.Context(), providers(b), nil); err != nil {
		t.Error(err)
	} else {
		// etcd went on by a phase since the export, and every provider is lost.
		n, err := o.WithPhase(keyring.Sealing)
		n = must(t, n, err)
		if again, err := stored(t, n).Open(t.Context(), providers(b), known); err != nil {
			t.Error(err)
		} else {
			opensTheSame(t, n, again)
		}
	}
	twice, err := must(t, o, nil).Export(t.Context(), fresh())
	if err != nil || len(twice.Keys[0].Wraps) != 2 {
		t.Errorf("%v", err)
	}
}

func TestProbeNamesEachProvider(t *testing.T) {
	a, b, c := kmstest.New("a"), kmstest.New("b"), kmstest.New("c")
	d := stored(t, rotated(t, a, b))
	n, err := must(t, rotated(t, a, b), nil).Rewrapped(t.Context(), providers(a))
	_ = must(t, n, err)
	b.Fail(errors.New("it is away"))
	for _, o := range d.Probe(t.Context(), providers(c, b, a)) {
		if !slices.Equal(o.By(), []string{"a"}) || len(o.Tried) != 3 || o.Tried[1].Err.Error() != "it is away" ||
			o.Tried[2].Provider != "c" || o.Tried[2].Err == nil {
			t.Errorf("%+v", o)
		}
	}
	for _, o := range d.Probe(t.Context(), nil) {
		if o.By() != nil || len(o.Tried) != 2 {
			t.Errorf("%+v", o)
		}
	}
}

func TestAnOpenedRingShowsNoSecret(t *testing.T) {
	p := kmstest.New("a")
	o := rotated(t, p)
	var secrets [][]byte
	for _, k := range o.Document().Keys {
		plain, err := p.Decrypt(t.Context(), "", k.Wraps[0].Wrapped)
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, plain[len(plain)-32:])
	}
	// A control of the search itself.
	if !shows(fmt.Sprintf("%v", secrets[0]), secrets) || !shows(fmt.Sprintf("%x", secrets[1]), secrets) {
		t.Fatal("a secret in plain sight is not found")
	}
	inside := struct {
		O *keyring.Opened
		V keyring.Opened
		r *keyring.Opened
	}{o, *o, o}
	var said []string
	for _, v := range []any{o, *o, inside, &inside, []*keyring.Opened{o}, map[string]keyring.Opened{"a": *o}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			said = append(said, fmt.Sprintf(verb, v))
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		said = append(said, string(data))
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "ring", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "ring", v)
		said = append(said, log.String())
	}
	for _, s := range said {
		if shows(s, secrets) {
			t.Errorf("a secret is shown: %s", s)
		}
	}
	if s := o.String(); !strings.Contains(s, o.ID().String()) || strings.Contains((&keyring.Opened{}).String(), "%!") {
		t.Errorf("%s", s)
	}
}

func shows(s string, secrets [][]byte) bool {
	for _, secret := range secrets {
		part := secret[8:16]
		for _, form := range []string{string(part), hex.EncodeToString(part), strings.ToUpper(hex.EncodeToString(part)),
			strings.Trim(fmt.Sprint(part), "[]"), base64.StdEncoding.EncodeToString(secret)[:20]} {
			if strings.Contains(s, form) {
				return true
			}
		}
	}
	return false
}

func TestARingForToolsOpensAndSeals(t *testing.T) {
	o := rotated(t, kmstest.New("a"))
	r := o.Ring()
	old := o.Key(1).Seal(nil, []byte("/a"), []byte("value"))
	if got, err := r.Open([]byte("/a"), old); err != nil || string(got) != "value" {
		t.Error(err)
	}
	w, err := r.BeginWrite()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Done()
	sealed, err := w.Seal([]byte("/a"), []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := seal.Parse(sealed); err != nil || e.Key != 2 || e.Ring != o.ID() {
		t.Errorf("sealed with %+v, %v: not the active key", e, err)
	}
}

func TestParseDocument(t *testing.T) {
	good := string(must(t, rotated(t, kmstest.New("a"), kmstest.New("b")), nil).Document().Marshal())
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in %s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(good), "", "  "); err != nil {
		t.Fatal(err)
	}
	edit := func(change func(d *keyring.Document)) string {
		d, err := keyring.ParseDocument([]byte(good))
		if err != nil {
			t.Fatal(err)
		}
		change(d)
		return string(d.Marshal())
	}
	ring := good[strings.Index(good, `"ring":"`)+8:][:16]
	for what, tt := range map[string]struct{ data, want string }{
		"as written":           {good, ""},
		"indented":             {indented.String(), ""},
		"empty":                {" \n", "empty"},
		"not JSON":             {"ring", "invalid character"},
		"cut short":            {good[:len(good)-10], "unexpected EOF"},
		"two documents":        {good + good, ""},
		"trailing bytes":       {good + "x", "invalid character"},
		"trailing brace":       {good + "}", "invalid character"},
		"null":                 {"null", "version"},
		"a list":               {"[]", "cannot unmarshal"},
		"unknown field":        {replace(`"version":1`, `"version":1,"color":1`), `unknown field "color"`},
		"unknown inner field":  {replace(`"number":1`, `"number":1,"color":1`), `unknown field "color"`},
		"twice":                {replace(`"version":1`, `"version":1,"version":1`), `"version" is given twice`},
		"twice inside":         {replace(`"number":1`, `"number":1,"number":1`), `"number" is given twice`},
		"twice, escaped":       {replace(`"version":1`, `"version":1,"versio\u006e":1`), `"version" is given twice`},
		"another case":         {replace(`"phase"`, `"Phase"`), "canonical"},
		"another order":        {replace(`"version":1,"ring":"`+ring+`"`, `"ring":"`+ring+`","version":1`), "canonical"},
		"upper hex":            {replace(ring, strings.ToUpper(ring)), "canonical"},
		"a null":               {replace(`"phase":"strict"`, `"phase":null`), "canonical"},
		"phase missing":        {replace(`"phase":"strict",`, ``), "canonical"},
		"another number":       {replace(`"generation":4`, `"generation":4.0`), "generation"},
		"another zone":         {replace(`11:00:00Z`, `12:00:00+01:00`), "not in UTC"},
		"UTC with digits":      {replace(`11:00:00Z`, `11:00:00+00:00`), "canonical"},
		"a fraction":           {replace(`11:00:00Z`, `11:00:00.5Z`), "fraction"},
		"no date":              {replace(`2026-03-01T11:00:00Z`, `0001-01-01T00:00:00Z`), "no date"},
		"version":              {replace(`"version":1`, `"version":2`), "version 2"},
		"ring of zeros":        {replace(ring, strings.Repeat("0", 16)), "no id"},
		"short ring":           {replace(ring, ring[:14]), "16 hexadecimal digits"},
		"generation 0":         {replace(`"generation":4`, `"generation":0`), "counted from 1"},
		"generation too large": {replace(`"generation":4`, `"generation":18446744073709551616`), "generation"},
		"unknown phase":        {replace(`"strict"`, `"stricter"`), `no phase "stricter"`},
		"unknown state":        {replace(`"prepare"`, `"prepared"`), `no state "prepared"`},
		"no state":             {replace(`"state":"prepare",`, ``), "no state"},
		"two active":           {replace(`"retired"`, `"active"`), "1 and 2 are both active"},
		"no active":            {replace(`"active"`, `"retired"`), "no active"},
		"no keys":              {edit(func(d *keyring.Document) { d.Keys = nil }), "no active"},
		"prepared below":       {edit(func(d *keyring.Document) { d.Keys[0].State = keyring.Prepare; d.Keys = d.Keys[:2] }), "only prepared"},
		"two prepared":         {edit(func(d *keyring.Document) { d.Keys[1].State = keyring.Prepare; d.Keys[0].State = keyring.Active }), "both prepared"},
		"retired above":        {edit(func(d *keyring.Document) { d.Keys[2].State = keyring.Retired }), "a lower one is not"},
		"number twice":         {edit(func(d *keyring.Document) { d.Keys[1].Number = 1 }), "ascend"},
		"number 0":             {edit(func(d *keyring.Document) { d.Keys[0].Number = 0 }), "ascend"},
		"descending":           {edit(func(d *keyring.Document) { d.Keys[2].Number = 1 }), "ascend"},
		"no wraps":             {edit(func(d *keyring.Document) { d.Keys[0].Wraps = nil }), "no provider"},
		"many wraps":           {edit(func(d *keyring.Document) { d.Keys[0].Wraps = manyWraps(d.Keys[0].Wraps[0]) }), "the most"},
		"provider twice":       {edit(func(d *keyring.Document) { d.Keys[0].Wraps[1].Provider = "a" }), "twice"},
		"provider's name":      {edit(func(d *keyring.Document) { d.Keys[0].Wraps[1].Provider = "A b" }), "can't be the name"},
		"no key id":            {edit(func(d *keyring.Document) { d.Keys[0].Wraps[1].KeyID = "" }), "key id is empty"},
		"no ciphertext":        {edit(func(d *keyring.Document) { d.Keys[0].Wraps[1].Ciphertext = nil }), "ciphertext is empty"},
		"annotation":           {replace(`"memory.kmstest.etcdguard.dev"`, `"memory"`), "not named as a domain"},
		"empty annotations":    {replace(`"annotations":{"memory.kmstest.etcdguard.dev":"MQ=="}`, `"annotations":{}`), "canonical"},
		"short mac":            {edit(func(d *keyring.Document) { d.MAC = d.MAC[:31] }), "31 bytes"},
		"deep":                 {strings.Repeat("[", 100000), "nested too deep"},
		"long":                 {strings.Repeat(" ", 1<<20) + good, "no ring has more"},
		"two lines":            {good + "\n", ""},
	} {
		if what == "two documents" {
			tt.want = "follows its end"
		}
		d, err := keyring.ParseDocument([]byte(tt.data))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		if err == nil || d != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", what, err, tt.want)
		}
	}
}

func manyWraps(w keyring.Wrap) (all []keyring.Wrap) {
	for i := range 17 {
		w.Provider = fmt.Sprintf("p%d", i)
		all = append(all, w)
	}
	return all
}

// TestDocumentVector holds the format: a document that was written once opens for ever.
func TestDocumentVector(t *testing.T) {
	data, err := os.ReadFile("testdata/ring-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	d, err := keyring.ParseDocument(data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := kms.NewExport([]byte("this passphrase is no secret"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := d.Open(t.Context(), []kms.Provider{p}, nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile("testdata/sealed-v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := hex.DecodeString(strings.TrimSpace(string(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := o.Ring().Open([]byte("/vector"), stored); err != nil || string(got) != "value of the vector" {
		t.Errorf("%q, %v", got, err)
	}
	if !bytes.Equal(d.Marshal(), data) {
		t.Error("it would be written in another form now")
	}
}

func FuzzParseDocument(f *testing.F) {
	vector, err := os.ReadFile("testdata/ring-v1.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(vector)
	f.Add(rotated(f, kmstest.New("a")).Document().Marshal())
	f.Add([]byte(`{"version":1,"ring":"0000000000000001","generation":1,"phase":"off","keys":[],"mac":""}`))
	p := kmstest.New("a")
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := keyring.ParseDocument(data)
		if err != nil {
			return
		}
		again, err := keyring.ParseDocument(d.Marshal())
		if err != nil || !reflect.DeepEqual(d, again) {
			t.Errorf("%q is read and written as %q: %v", data, d.Marshal(), err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, data); err != nil || !bytes.Equal(append(compact.Bytes(), '\n'), d.Marshal()) {
			t.Errorf("%q is taken for %q", data, d.Marshal())
		}
		if _, err := d.Open(t.Context(), []kms.Provider{p}, nil); err == nil {
			t.Error("what a fuzzer made opens")
		}
	})
}
