package report

import (
	"fmt"
	"strings"
)

// Micro is one result of a benchmark of one package.
type Micro struct {
	Round   int                `json:"round"`
	Name    string             `json:"name"`    // without "Benchmark": Seal/sealed/100
	Figures map[string]float64 `json:"figures"` // by unit: ns/op
}

// microPerRound collects a figure by round.
func (r *Run) microPerRound(name, unit string) map[int]float64 {
	out := map[int]float64{}
	for _, m := range r.Micros {
		if v, ok := m.Figures[unit]; ok && m.Name == name {
			out[m.Round] = v
		}
	}
	return out
}

func (r *Run) hasMicro(prefix string) bool {
	for _, m := range r.Micros {
		if strings.HasPrefix(m.Name, prefix) {
			return true
		}
	}
	return false
}

// valueSizes are those of the benchmarks in seal/, in bytes.
var valueSizes = []struct {
	title string
	bytes string
}{{"100 B", "100"}, {"1 KiB", "1024"}, {"64 KiB", "65536"}}

func (r *Run) writeValues(b *strings.Builder) {
	if !r.hasMicro("Seal/") {
		return
	}
	fmt.Fprintf(b, "## Sealing and opening one value\n\nNanoseconds on one core, the allocation of the result included; less is better. Beside them is what AES-256-GCM alone takes, with a random nonce and one key: the difference is the envelope, the binding to name and ring, and a key for each nonce.\n\n")
	fmt.Fprintf(b, "| value | seal | AES-GCM alone | open | AES-GCM alone |\n|---|---|---|---|---|\n")
	for _, size := range valueSizes {
		fmt.Fprintf(b, "| %s |", size.title)
		for _, name := range []string{"Seal/sealed/", "Seal/control/", "Open/sealed/", "Open/control/"} {
			fmt.Fprintf(b, " %s |", spreadOf(r.microPerRound(name+size.bytes, "ns/op")).format(number))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}

// atrestFiles are the databases of the benchmark in atrest/.
var atrestFiles = []string{"sealed", "plaintext"}

// leastOfCat is how much of the speed of cat a look at a database must reach.
const leastOfCat = 0.5

func (r *Run) writeAtrest(b *strings.Builder) {
	if !r.hasMicro("Cat/") {
		return
	}
	size := spreadOf(r.microPerRound("Cat/"+atrestFiles[0], "file-MiB")).Median
	fmt.Fprintf(b, "## Looking at a database file\n\n`etcdguard atrest` against `cat`, in turns, each in a process of its own, on a file of %.1f GiB that the kernel has in memory.\n\n", size/1024)
	fmt.Fprintf(b, "| values | atrest, MB/s | cat, MB/s | ratio | peak memory, MiB |\n|---|---|---|---|---|\n")
	for _, file := range atrestFiles {
		fmt.Fprintf(b, "| %s |", file)
		for _, unit := range []string{"atrest-MB/s", "cat-MB/s", "of-cat", "peak-MiB"} {
			fmt.Fprintf(b, " %s |", spreadOf(r.microPerRound("Cat/"+file, unit)).format(number))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}

func (r *Run) writeAtrestBudget(b *strings.Builder) {
	for _, file := range atrestFiles {
		if r.hasMicro("Cat/" + file) {
			l, s := limit{atLeast: leastOfCat}, spreadOf(r.microPerRound("Cat/"+file, "of-cat"))
			fmt.Fprintf(b, "| atrest, %s | bytes per second | `cat`, warm | %s | %s | %s |\n", file, l, s.format(ratioNumber), l.verdict(s))
		}
	}
}
