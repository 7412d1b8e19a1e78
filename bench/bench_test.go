package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/etcdguard/etcdguard/bench/contender"
	"github.com/etcdguard/etcdguard/bench/load"
	"github.com/etcdguard/etcdguard/bench/report"
)

func TestRotateLetsEachGoFirst(t *testing.T) {
	all := []string{"a", "b", "c"}
	firsts := map[string]int{}
	for turn := range 9 {
		got := rotate(all, turn)
		firsts[got[0]]++
		slices.Sort(got)
		if !slices.Equal(got, all) {
			t.Fatalf("turn %d has %v", turn, got)
		}
	}
	for _, name := range all {
		if firsts[name] != 3 {
			t.Errorf("%s went first %d times of 9, want 3", name, firsts[name])
		}
	}
}

func TestCommandLineReportsAllMistakesTogether(t *testing.T) {
	_, err := parse([]string{"-rounds", "0", "-window", "0s", "-workloads", "put,fly", "extra"}, io.Discard)
	if err == nil {
		t.Fatal("a command line full of mistakes was accepted")
	}
	for _, want := range []string{"-rounds", "-window", `"fly"`, `"extra"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %s: %v", want, err)
		}
	}
}

func TestCommandNamesNoMachine(t *testing.T) {
	cfg, err := parse([]string{"-stock", "/home/someone/bin/etcd", "-etcdguard", "../bin/etcdguard", "-workloads", "put,get"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := "go run . -stock etcd -etcdguard ../bin/etcdguard -rounds 5 -warm 1s -window 4s -workloads get,put"
	if got := cfg.command(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The report's budget knows workloads and contenders by name; a name that no
// longer exists would silently drop a promise.
func TestBudgetNamesWhatExists(t *testing.T) {
	stand := filepath.Join(t.TempDir(), "binary")
	if err := os.WriteFile(stand, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	contenders, err := contender.New(stand, stand, contender.Does{Sealing: true, Audit: true})
	if err != nil {
		t.Fatal(err)
	}
	run := &report.Run{Settings: report.Settings{Rounds: 5}, Started: time.Unix(0, 0)}
	for _, c := range contenders {
		run.Contenders = append(run.Contenders, report.Contender{Name: c.Name})
		run.Fills = append(run.Fills, report.Fill{Round: 1, Contender: c.Name, RSSBytes: 1})
		for _, w := range load.Workloads() {
			run.Measured = append(run.Measured, report.Measurement{
				Round: 1, Workload: w.Name, Contender: c.Name, Ops: 1, Seconds: 1, ServerCPUSeconds: 1,
			})
		}
	}
	page := run.Markdown()
	if !strings.Contains(page, "## Against the budget") {
		t.Fatal("the page has no budget")
	}
	if strings.Contains(page, "not measured") {
		t.Errorf("the budget names a workload or a contender that does not exist:\n%s", page)
	}
}
