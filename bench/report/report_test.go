package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sample is a run in which etcdguard does exactly twice what the default
// serving does and as much as the split one, at equal CPU per operation.
func sample() *Run {
	r := &Run{
		Started: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Command: "go run .",
		Machine:    Machine{Cores: 2, Platform: "linux/amd64", Filesystem: "ext4", SyncMillis: 0.3},
		Settings:   Settings{Rounds: 5, WarmSeconds: 1, WindowSeconds: 4, Conns: 8, Clients: 64, ValueBytes: 1024, FillKeys: 10000, FillWrites: 20000},
		Contenders: []Contender{{stock, "stock & default", "1"}, {stockSplit, "split", "1"}, {subject, "guard", "1"}},
	}
	for _, name := range []string{"handshake", "get", "range-1000", "watch", "txn-mixed", "put", "range-10000", "stream-10000"} {
		r.Workloads = append(r.Workloads, Workload{Name: name, Unit: "<ops>/s", Note: "a note"})
		for round := 1; round <= 5; round++ {
			for who, factor := range map[string]int{stock: 1, stockSplit: 2, subject: 2} {
				ops := 1000 * round * factor
				r.Measured = append(r.Measured, Measurement{
					Round: round, Workload: name, Contender: who, Ops: ops, Seconds: 4,
					P50Micros: 100, P99Micros: 900, ServerCPUSeconds: float64(ops) / 1e4, ClientCPUSeconds: 2, OtherCPUSeconds: 0.8,
					PeakRSSBytes: 100 << 20,
				})
			}
		}
	}
	for round := 1; round <= 5; round++ {
		for _, who := range []string{stock, stockSplit, subject} {
			r.Fills = append(r.Fills, Fill{Round: round, Contender: who, RSSBytes: 80 << 20})
		}
	}
	for round := 1; round <= 5; round++ {
		for _, size := range valueSizes {
			for _, name := range []string{"Seal/sealed/", "Seal/control/", "Open/sealed/", "Open/control/"} {
				r.Micros = append(r.Micros, Micro{Round: round, Name: name + size.bytes, Figures: map[string]float64{"ns/op": 500}})
			}
		}
		for _, file := range atrestFiles {
			r.Micros = append(r.Micros, Micro{Round: round, Name: "Cat/" + file, Figures: map[string]float64{
				"of-cat": 0.7, "cat-MB/s": 2000, "atrest-MB/s": 1400, "peak-MiB": 20, "file-MiB": 2080}})
		}
	}
	return r
}

func TestPageShowsTheFigures(t *testing.T) {
	page := sample().Markdown()
	for _, want := range []string{
		"| put | throughput | `stock` | ≥ 1.50 | 2.00 (2.00–2.00) | reached |",
		"| put | throughput | `stock-split` | ≥ 0.95 | 1.00 (1.00–1.00) | reached |",
		"| put | server CPU per operation | `stock-split` | ≤ 1.10 | 1.00 (1.00–1.00) | reached |",
		"≤ 1.15 × + 64 MiB = 156 MiB | 80.0 (80.0–80.0) MiB | reached |",
		"| put (<ops>/s) | 750 (250–1,250) | 1,500 (500–2,500) | 1,500 (500–2,500) |",
		"| put | 100 (100–100) | 100 (100–100) | 100 (100–100) |",
		"| 64 KiB | 500 (500–500) | 500 (500–500) | 500 (500–500) | 500 (500–500) |",
		"| atrest, sealed | bytes per second | `cat`, warm | ≥ 0.50 | 0.70 (0.70–0.70) | reached |",
		"on a file of 2.0 GiB that",
		"| plaintext | 1,400 (1,400–1,400) | 2,000 (2,000–2,000) | 0.70 (0.70–0.70) | 20.0 (20.0–20.0) |",
		"| taken by anything else | at most 10 % of the machine in a window |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "missed") || strings.Contains(page, "not measured") || strings.Contains(page, "NaN") || strings.Contains(page, "trial") {
		t.Errorf("the page reports a miss or a gap where there is none:\n%s", page)
	}
}

func TestPageSaysWhatIsNotWorthQuoting(t *testing.T) {
	r := sample()
	r.Settings.Rounds = 4
	if !strings.Contains(r.Markdown(), "A trial") {
		t.Error("four rounds pass for a full run")
	}
	r = sample()
	for i := range r.Measured {
		if r.Measured[i].Contender == subject {
			r.Measured[i].Ops /= 2
		}
	}
	// Half the operations: every throughput limit is missed, and with the same
	// processor time for them every CPU limit too.
	if got, want := strings.Count(r.Markdown(), "**missed**"), len(budget()); got < want {
		t.Errorf("%d limits are missed on the page, want %d", got, want)
	}
}

func TestStockAloneHasNoRatios(t *testing.T) {
	r := sample()
	r.Contenders = r.Contenders[:2]
	if page := r.Markdown(); strings.Contains(page, "## Ratios") || strings.Contains(page, "budget") {
		t.Error("the page compares with an etcdguard that did not run")
	}
}

// Every workload that the budget speaks of exists in the sample, which
// TestBudgetNamesWhatExists of the main package holds against the real ones.
func TestBudgetIsMeasured(t *testing.T) {
	r := sample()
	if len(budget()) == 0 {
		t.Fatal("no budget")
	}
	for _, l := range budget() {
		if s := r.ratio(l.workload, l.against, l.of); s.N != 5 {
			t.Errorf("%s of %s against %s stands on %d rounds, want 5", l.what, l.workload, l.against, s.N)
		}
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	r := sample()
	for name, plot := range map[string]string{"throughput": r.ThroughputSVG(), "ratio": r.RatioSVG()} {
		d := xml.NewDecoder(strings.NewReader(plot))
		dots := 0
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
				dots++
			}
		}
		if dots < 5*len(r.Workloads)*2 {
			t.Errorf("%s: %d dots, want one for each round, workload and contender or mode", name, dots)
		}
		if strings.Contains(plot, "NaN") || strings.Contains(plot, "Inf") {
			t.Errorf("%s: a coordinate is not a number", name)
		}
	}
}

func TestPlotsSurviveAWorkloadWithoutRounds(t *testing.T) {
	r := sample()
	r.Measured = nil
	for name, plot := range map[string]string{"throughput": r.ThroughputSVG(), "ratio": r.RatioSVG()} {
		if strings.Contains(plot, "NaN") || strings.Contains(plot, "Inf") {
			t.Errorf("%s: a coordinate is not a number", name)
		}
	}
}

func TestRawRoundsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rounds.json")
	r := sample()
	if err := r.WriteJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back Run
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&back, r) {
		t.Error("what was written is not what was measured")
	}
}

// A reader must not have to guess why a row of the budget is missed for good.
func TestPageExplainsLongAnswers(t *testing.T) {
	const why = "Why `range-1000` misses ≥ 1.50"
	r := sample()
	if strings.Contains(r.Markdown(), why) {
		t.Error("it explains what was reached")
	}
	for i := range r.Measured {
		if m := &r.Measured[i]; m.Workload == "range-1000" && m.Contender == subject {
			m.Ops = m.Ops * 11 / 20
		}
	}
	if page := r.Markdown(); !strings.Contains(page, why) || !strings.Contains(page, "etcdguard is at 1.10 ×.") {
		t.Errorf("it does not explain what was missed:\n%s", page)
	}
}
