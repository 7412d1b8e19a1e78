package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Run is everything that a benchmark run saw. Its JSON form is stable.
type Run struct {
	Started    time.Time     `json:"started"`
	Command    string        `json:"command"`
	Machine    Machine       `json:"machine"`
	Settings   Settings      `json:"settings"`
	Contenders []Contender   `json:"contenders"` // the ones compared with come first
	Workloads  []Workload    `json:"workloads"`
	Fills      []Fill        `json:"fills"`
	Measured   []Measurement `json:"measured"`
	Micros     []Micro       `json:"micros,omitempty"`
	Reseal     Reseal        `json:"reseal,omitzero"`
}

// Machine describes where the run took place, as far as a reader needs it.
type Machine struct {
	Cores      int     `json:"cores"`
	Platform   string  `json:"platform"`    // linux/amd64
	Filesystem string  `json:"filesystem"`  // of the data directories
	SyncMillis float64 `json:"sync_millis"` // median of a 2 KiB append with fdatasync, before the run
}

// Settings are the sizes of the load.
type Settings struct {
	Rounds        int     `json:"rounds"`
	WarmSeconds   float64 `json:"warm_seconds"`
	WindowSeconds float64 `json:"window_seconds"`
	Conns         int     `json:"conns"`
	Clients       int     `json:"clients"`
	ValueBytes    int     `json:"value_bytes"`
	FillKeys      int     `json:"fill_keys"`
	FillWrites    int     `json:"fill_writes"`
}

// Contender names one server under test.
type Contender struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Version string `json:"version"`
}

// Workload names one kind of load.
type Workload struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	Note string `json:"note"`
}

// Fill is a server's memory right after the same fixed amount of writes.
type Fill struct {
	Round     int     `json:"round"`
	Contender string  `json:"contender"`
	Seconds   float64 `json:"seconds"`
	RSSBytes  int64   `json:"rss_bytes"`
}

// Measurement is one window: one workload on one contender in one round.
type Measurement struct {
	Round            int     `json:"round"`
	Workload         string  `json:"workload"`
	Contender        string  `json:"contender"`
	Ops              int     `json:"ops"`
	Seconds          float64 `json:"seconds"`
	P50Micros        float64 `json:"p50_micros"`
	P99Micros        float64 `json:"p99_micros"`
	ServerCPUSeconds float64 `json:"server_cpu_seconds"`
	ClientCPUSeconds float64 `json:"client_cpu_seconds"`
	OtherCPUSeconds  float64 `json:"other_cpu_seconds"` // everything else on the machine
	PeakRSSBytes     int64   `json:"peak_rss_bytes"`    // of the server, warm-up included
}

// WriteJSON writes the raw rounds to path.
func (r *Run) WriteJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing raw rounds: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing raw rounds: %w", err)
	}
	return nil
}

// metric picks one number out of a measurement.
type metric func(Measurement) float64

func throughput(m Measurement) float64 { return float64(m.Ops) / m.Seconds }
func p50Millis(m Measurement) float64  { return m.P50Micros / 1000 }
func p99Millis(m Measurement) float64  { return m.P99Micros / 1000 }
func cpuMicros(m Measurement) float64  { return m.ServerCPUSeconds * 1e6 / float64(m.Ops) }
func peakMiB(m Measurement) float64    { return float64(m.PeakRSSBytes) / (1 << 20) }

// perRound collects a metric by round.
func (r *Run) perRound(workload, contender string, of metric) map[int]float64 {
	out := map[int]float64{}
	for _, m := range r.Measured {
		if m.Workload == workload && m.Contender == contender {
			out[m.Round] = of(m)
		}
	}
	return out
}

// fillMiB collects the memory after Fill by round.
func (r *Run) fillMiB(contender string) map[int]float64 {
	out := map[int]float64{}
	for _, f := range r.Fills {
		if f.Contender == contender {
			out[f.Round] = float64(f.RSSBytes) / (1 << 20)
		}
	}
	return out
}

// windows are all that there were.
func (r *Run) windows() []Measurement {
	all := slices.Clone(r.Measured)
	for _, w := range r.Reseal.Windows {
		all = append(all, w.Measurement)
	}
	return all
}

// noise is the largest share of the machine that anything but the contender
// and the benchmark took during a window.
func (r *Run) noise() float64 {
	worst := 0.0
	for _, m := range r.windows() {
		worst = max(worst, m.OtherCPUSeconds/(m.Seconds*float64(r.Machine.Cores)))
	}
	return worst
}

// clientShare is the largest share of the machine that the load itself took.
func (r *Run) clientShare() float64 {
	worst := 0.0
	for _, m := range r.windows() {
		worst = max(worst, m.ClientCPUSeconds/(m.Seconds*float64(r.Machine.Cores)))
	}
	return worst
}
