package difftest

import (
	"embed"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/seeds/*.txt
var seedFiles embed.FS

// seed is a run that once found something, in a target or in this package.
type seed struct {
	first uint64
	steps int
	found string
}

// keptSeeds reads testdata/seeds. An empty corpus would pass as silently as a good
// one, so it is an error.
func keptSeeds() ([]seed, error) {
	files, err := seedFiles.ReadDir("testdata/seeds")
	if err != nil {
		return nil, err
	}
	var seeds []seed
	for _, f := range files {
		data, err := seedFiles.ReadFile("testdata/seeds/" + f.Name())
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(string(data), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			var s seed
			if _, err := fmt.Sscanf(line, "%d %d", &s.first, &s.steps); err != nil {
				return nil, fmt.Errorf("%s:%d: want a seed, a number of steps and what they found: %w", f.Name(), i+1, err)
			}
			s.found = strings.Join(strings.Fields(line)[2:], " ")
			seeds = append(seeds, s)
		}
	}
	if len(seeds) == 0 {
		return nil, fmt.Errorf("testdata/seeds holds no seed")
	}
	return seeds, nil
}

// RunKept replays every kept seed as a test of its own, each against two targets
// that start makes afresh.
func RunKept(t *testing.T, opt Options, start func(*testing.T) (a, b Target)) {
	t.Helper()
	seeds, err := keptSeeds()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range seeds {
		t.Run(fmt.Sprintf("seed %d", s.first), func(t *testing.T) {
			t.Parallel() // most of each is waiting for etcds to settle
			t.Log(s.found)
			opt := opt
			opt.Seed, opt.Steps = s.first, s.steps
			a, b := start(t)
			Run(t, a, b, opt)
		})
	}
}
