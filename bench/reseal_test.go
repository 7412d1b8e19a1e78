package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestTheRateIsThatWithinTheWindow(t *testing.T) {
	at := func(seconds float64) time.Time {
		return time.Unix(1000, 0).Add(time.Duration(seconds * float64(time.Second)))
	}
	r := &resealing{marks: []mark{{at(1), 10}, {at(2), 20}, {at(3.1), 120}, {at(4.1), 320}, {at(5.1), 620}, {at(6.1), 630}}}
	if got, err := r.rate(at(3), at(6)); err != nil || got < 249.99 || got > 250.01 {
		t.Errorf("%v a second, want 250 (%v)", got, err)
	}
	if _, err := r.rate(at(6), at(10)); err == nil {
		t.Error("one mark made a rate")
	}
	r.err = errors.New("it is over")
	if _, err := r.rate(at(3), at(6)); err == nil {
		t.Error("a resealing that had ended has a rate")
	}
}

func TestResealingNeedsAMemberThatSeals(t *testing.T) {
	for _, args := range [][]string{{"-etcdguard="}, {"-etcdguard=x", "-sealing=false"}} {
		var said strings.Builder
		cfg, err := parse(args, &said)
		if err != nil || cfg.reseal || !strings.Contains(said.String(), "reseal is left out") {
			t.Errorf("%v: measured is %v, said is %q (%v)", args, cfg.reseal, said.String(), err)
		}
		if strings.Contains(cfg.command(), "reseal") {
			t.Errorf("the command names what was not measured: %s", cfg.command())
		}
	}
	cfg, err := parse([]string{"-etcdguard=x", "-workloads=reseal"}, io.Discard)
	if err != nil || !cfg.reseal || len(cfg.workloads) != 0 || !strings.HasSuffix(cfg.command(), "-workloads reseal") {
		t.Errorf("%+v (%v)", cfg, err)
	}
}

// A load that was renamed would drop out of what is measured.
func TestTheLoadsOfResealingExist(t *testing.T) {
	for _, name := range resealLoads {
		if cfg, err := parse([]string{"-workloads", name}, io.Discard); err != nil || len(cfg.workloads) != 1 {
			t.Errorf("%s is no workload (%v)", name, err)
		}
	}
}
