package journal

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
)

const victimDir = "JOURNAL_VICTIM_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
	}
	os.Exit(m.Run())
}

// victim is the process that is killed: it writes, says what it was told is written, and
// does not end.
func victim(dir string) {
	j, _, err := Open((&recorder{}).config(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				if _, err := j.Append(entry{i % 50}); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				seq, err := j.Write(entry{(w * i) % 300})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Println(seq) // os.Stdout has no buffer
			}
		})
	}
	wg.Wait()
}

func TestAKilledProcessLosesNothingThatWasWritten(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	rotated := false
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written := uint64(0)
		kill := 1 + rng.IntN(1500)
		said := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			seq, err := strconv.ParseUint(lines.Text(), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			written = max(written, seq+1)
			if said++; said == kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait()
		if said < kill {
			t.Fatalf("round %d: it ended by itself", round)
		}

		got := readAll(t, dir)
		for i, line := range got {
			if seq := seqOf(t, []byte(line)); seq != uint64(i) {
				t.Fatalf("round %d: line %d says %d", round, i, seq)
			}
		}
		if uint64(len(got)) < written {
			t.Fatalf("round %d: %d lines are there, %d were written", round, len(got), written)
		}
		rec := &recorder{}
		j, r := mustOpen(t, rec.config(dir))
		if r.Next != uint64(len(got)) || rec.from != r.From || len(rec.observed) != len(got)-int(r.From) {
			t.Fatalf("round %d: %+v, and %d lines are there", round, r, len(got))
		}
		rotated = rotated || r.From > 0
		if round%2 == 0 {
			mustWrite(t, j, 10, 10)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !rotated {
		t.Error("there was one segment only")
	}
}
