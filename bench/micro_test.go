package main

import (
	"io"
	"testing"
)

func TestGoBenchmarksAreRead(t *testing.T) {
	const text = "goos: linux\ncpu: some\n" +
		"BenchmarkSeal/sealed/1024-16 \t  200\t   1379 ns/op\t 742.79 MB/s\t 1154 B/op\t 1 allocs/op\n" +
		"BenchmarkCat/sealed \t 5\t 0.61 of-cat\nPASS\n"
	got, err := parseMicro(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Name != "Seal/sealed/1024" || got[0].Figures["ns/op"] != 1379 || got[1].Name != "Cat/sealed" || got[1].Figures["of-cat"] != 0.61 {
		t.Errorf("got %+v", got)
	}
	for _, bad := range []string{"", "PASS\n", "BenchmarkX-2 5 1\n", "BenchmarkX-2 5 x ns/op\n"} {
		if _, err := parseMicro(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestBenchmarksCanBeChosenAlone(t *testing.T) {
	cfg, err := parse([]string{"-workloads", "values", "-sealing=false"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.workloads) != 0 || len(cfg.micros) != 1 || cfg.micros[0].name != "values" {
		t.Errorf("chosen are %v and %v", cfg.workloads, cfg.micros)
	}
	want := "go run . -stock ../e2e/bin/etcd -rounds 5 -warm 1s -window 4s -sealing=false -workloads values"
	if got := cfg.command(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The report shows benchmarks by name; one that was renamed would drop out of it.
func TestTheBenchmarksOfValuesExist(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a package")
	}
	m := packages()[0]
	m.args = []string{"-benchtime=1x"}
	found, err := m.measure(t.Context(), config{module: ".."}, t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range found {
		have[f.Name] = f.Figures["ns/op"] > 0
	}
	for _, size := range []string{"100", "1024", "65536"} {
		for _, name := range []string{"Seal/sealed/", "Seal/control/", "Open/sealed/", "Open/control/"} {
			if !have[name+size] {
				t.Errorf("there is no benchmark %s%s", name, size)
			}
		}
	}
}
