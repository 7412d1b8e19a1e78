package certs

import (
	"crypto/tls"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/pki"
)

// GHSA-3wh4-j44w-pg92: a session that is resumed must be held against what is
// revoked by then. A ticket of before the reload is worth nothing, and the client
// behind it has to show a certificate that is still good.
func TestResumedSessionSeesARevocation(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			f.revoke("crl.pem", f.authority, time.Now().Add(time.Hour))
			c := f.config()
			c.CRLFile, c.MaxVersion = f.file("crl.pem"), version
			source := f.source(c)
			p := open(t, DoorConfig{Source: source})
			mallory, alice := f.issue(pki.Client, "mallory"), f.issue(pki.Client, "alice")
			resuming := func(leaf *pki.Leaf) *tls.Config {
				client := f.client(leaf, "h2")
				client.ClientSessionCache = tls.NewLRUClientSessionCache(8)
				return client
			}
			bad, good := resuming(mallory), resuming(alice)
			for _, client := range []*tls.Config{bad, good} {
				p.mustEnter(client)
				if again := p.mustEnter(client); !again.ConnectionState().DidResume {
					t.Fatal("sessions are not resumed: this test shows nothing")
				}
			}
			f.revoke("crl.pem", f.authority, time.Now().Add(time.Hour), mallory)
			check(t, source.Reload())
			if _, err := p.enter(bad); err == nil {
				t.Error("a revoked client resumed its session")
			}
			if after := p.mustEnter(good); after.ConnectionState().DidResume {
				t.Error("a session was resumed across a reload")
			}
			if again := p.mustEnter(good); !again.ConnectionState().DidResume {
				t.Error("sessions are not resumed after a reload")
			}
		})
	}
}

func TestASessionOfAnExpiredCertificateIsNotResumed(t *testing.T) {
	f := newFiles(t)
	p := open(t, DoorConfig{Source: f.source(f.config())})
	client := f.client(f.issue(pki.Client, "alice"), "h2")
	client.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	// The client's own clock stands still, or it would refuse the server's certificate.
	client.Time = time.Now
	p.mustEnter(client)
	if !p.mustEnter(client).ConnectionState().DidResume {
		t.Fatal("sessions are not resumed: this test shows nothing")
	}
	f.clock.move(366 * 24 * time.Hour)
	if _, err := p.enter(client); err == nil {
		t.Error("a client whose certificate ran out resumed its session")
	}
}

// Connections live for weeks. Each of these ends the trust that one was made under.
func TestSweepClosesWhatIsNoLongerTrustedAndNothingElse(t *testing.T) {
	for name, distrust := range map[string]func(f *files, mallory *pki.Leaf){
		"revoked": func(f *files, mallory *pki.Leaf) {
			f.revoke("crl.pem", f.authority, time.Now().Add(time.Hour), mallory)
		},
		"its authority is gone": func(f *files, _ *pki.Leaf) {
			f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			old := f.newAuthority("old")
			f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate(), old.Certificate()))
			f.revoke("crl.pem", f.authority, time.Now().Add(time.Hour))
			c := f.config()
			c.CRLFile = f.file("crl.pem")
			source := f.source(c)
			p := open(t, DoorConfig{Source: source})
			mallory, alice := f.issue(pki.Client, "mallory"), f.issue(pki.Client, "alice")
			if name != "revoked" {
				mallory = f.issueBy(old, pki.Client, "mallory")
			}
			bad, good := p.mustEnter(f.client(mallory, "h2")), p.mustEnter(f.client(alice, "h2"))
			web := p.mustEnter2(f.client(mallory, "http/1.1"))
			if n := p.door.Sweep(nil); n != 0 {
				t.Fatalf("%d connections closed before anything changed", n)
			}
			distrust(f, mallory)
			check(t, source.Reload())
			var told []string
			n := p.door.Sweep(func(peer *Peer, err error) { told = append(told, peer.Leaf().Subject.CommonName+": "+err.Error()) })
			if n != 2 || len(told) != 2 || !strings.HasPrefix(told[0], "mallory: ") || !strings.HasPrefix(told[1], "mallory: ") {
				t.Errorf("%d closed, %q; want both of mallory's", n, told)
			}
			if echo(bad) == nil {
				t.Error("mallory's connection is still served")
			}
			if _, err := web.Read(make([]byte, 1)); err == nil {
				t.Error("mallory's HTTP connection is still served")
			}
			if err := echo(good); err != nil {
				t.Errorf("alice's connection was closed too: %v", err)
			}
			if open := p.door.Open(); open != 1 {
				t.Errorf("%d connections are counted as open, want 1", open)
			}
		})
	}
}

// A clock that jumps: forward, and certificates have run out; back, and they are
// not valid yet. When it is right again, so is the door.
func TestClockJumps(t *testing.T) {
	f := newFiles(t)
	p := open(t, DoorConfig{Source: f.source(f.config())})
	client := f.client(f.issue(pki.Client, "alice"), "h2")
	client.Time = time.Now // only the server's clock jumps
	for name, jump := range map[string]time.Duration{"forward": 366 * 24 * time.Hour, "back": -48 * time.Hour} {
		before := p.mustEnter(client)
		f.clock.move(jump)
		if n := p.door.Sweep(nil); n == 0 {
			t.Errorf("%s: no connection was closed", name)
		}
		if echo(before) == nil {
			t.Errorf("%s: the connection is still served", name)
		}
		if _, err := p.enter(client); err == nil {
			t.Errorf("%s: a new connection was let in", name)
		}
		f.clock.move(-jump)
		p.mustEnter(client)
	}
}

func TestAReloadThatFailsLeavesTheOldGenerationInForce(t *testing.T) {
	for name, spoil := range map[string]func(f *files){
		"a certificate that is none":   func(f *files) { f.write("server.crt", []byte("nonsense")) },
		"a key that is none":           func(f *files) { f.write("server.key", []byte("nonsense")) },
		"an absent key":                func(f *files) { check(f.t, os.Remove(f.file("server.key"))) },
		"a key of another certificate": func(f *files) { check(f.t, f.issue(pki.Server, "server").Save(f.file("x"), f.file("server.key"))) },
		"no authority":                 func(f *files) { f.write("ca.crt", nil) },
		"half an authority":            func(f *files) { f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate())[:200]) },
		"an authority that is no DER": func(f *files) {
			f.write("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("nonsense")}))
		},
		"a list that is none":                  func(f *files) { f.write("crl.pem", []byte("nonsense")) },
		"an empty list file":                   func(f *files) { f.write("crl.pem", nil) },
		"a list that another authority signed": func(f *files) { f.revoke("crl.pem", f.newAuthority("one"), time.Now().Add(time.Hour)) },
		"a server certificate without a name": func(f *files) {
			// A client's certificate of this harness, taken for the server's, has one.
			leaf, err := f.authority.Issue(pki.Profile{Use: pki.Client, Subject: f.authority.Certificate().Subject}, time.Now())
			check(f.t, err)
			check(f.t, leaf.Save(f.file("server.crt"), f.file("server.key")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			f.revoke("crl.pem", f.authority, time.Now().Add(time.Hour))
			c := f.config()
			c.CRLFile = f.file("crl.pem")
			source := f.source(c)
			before := source.Current()
			spoil(f)
			if err := source.Reload(); err == nil {
				t.Fatal("the reload reports no error")
			} else if !strings.Contains(err.Error(), f.dir) {
				t.Errorf("the error does not name the file: %v", err)
			}
			if source.Current() != before {
				t.Error("the old generation is not in force")
			}
			p := open(t, DoorConfig{Source: source})
			p.mustEnter(f.client(f.issue(pki.Client, "alice"), "h2"))

			f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate()))
			check(t, f.issue(pki.Server, "server").Save(f.file("server.crt"), f.file("server.key")))
			f.revoke("crl.pem", f.authority, time.Now().Add(time.Hour))
			check(t, source.Reload())
			if source.Current() == before {
				t.Error("good files are not in force")
			}
		})
	}
}

func TestANewAuthorityIsTrustedAfterAReload(t *testing.T) {
	f := newFiles(t)
	source := f.source(f.config())
	p := open(t, DoorConfig{Source: source})
	next := f.newAuthority("two")
	client := f.client(f.issueBy(next, pki.Client, "alice"), "h2")
	if _, err := p.enter(client); err == nil {
		t.Fatal("an authority that is not in the file is trusted")
	}
	f.write("ca.crt", pki.EncodeCertificates(f.authority.Certificate(), next.Certificate()))
	check(t, source.Reload())
	p.mustEnter(client)
	if n := len(source.Current().Authorities()); n != 2 {
		t.Errorf("%d authorities in force, want 2", n)
	}
}

func TestANewServerCertificateIsShownAfterAReload(t *testing.T) {
	f := newFiles(t)
	source := f.source(f.config())
	p := open(t, DoorConfig{Source: source})
	client := f.client(f.issue(pki.Client, "alice"), "h2")
	first := p.mustEnter(client).ConnectionState().PeerCertificates[0].SerialNumber
	check(t, f.issue(pki.Server, "server").Save(f.file("server.crt"), f.file("server.key")))
	check(t, source.Reload())
	second := p.mustEnter(client).ConnectionState().PeerCertificates[0].SerialNumber
	if first.Cmp(second) == 0 {
		t.Error("the old certificate is still shown")
	}
	if source.Current().Leaf().SerialNumber.Cmp(second) != 0 {
		t.Error("the generation's leaf is not the one shown")
	}
}
