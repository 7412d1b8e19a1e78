package main

import (
	"strings"
	"testing"
	"time"
)

func newTestJournal(pkg string) (*journal, *[]string) {
	var told []string
	j := newJournal(pkg)
	j.began = func(test string) { told = append(told, "began "+test) }
	j.done = func(test string) { told = append(told, string(j.results[test])+" "+test) }
	return j, &told
}

func TestJournalKeepsResultsAndWhatWasSaid(t *testing.T) {
	j, told := newTestJournal("e2e")
	const stream = `{"Action":"start"}
{"Action":"run","Test":"A"}
{"Action":"run","Test":"A/x"}
{"Action":"output","Test":"A/x","Output":"hello\n"}
{"Action":"fail","Test":"A/x","Elapsed":1.5}
{"Action":"output","Test":"A","Output":"bye\n"}
{"Action":"fail","Test":"A","Elapsed":2}
{"Action":"run","Test":"B"}
`
	if err := j.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if j.results["e2e/A/x"] != failed || j.results["e2e/A"] != failed || j.elapsed["e2e/A/x"] != 1500*time.Millisecond {
		t.Errorf("results %v, elapsed %v", j.results, j.elapsed)
	}
	if said := j.says("e2e/A"); !strings.Contains(said, "hello") || !strings.Contains(said, "bye") {
		t.Errorf("A said %q", said)
	}
	if j.running != "e2e/B" {
		t.Errorf("running is %q; B had not ended", j.running)
	}
	if got, want := strings.Join(*told, "; "), "began e2e/A; fail e2e/A; began e2e/B"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if err := j.read(strings.NewReader("not json\n")); err == nil {
		t.Error("a line that is no event was passed over")
	}
}

func TestASecondTryReplacesTheFirstWholly(t *testing.T) {
	first, _ := newTestJournal("e2e")
	first.results = results{"e2e/A": failed, "e2e/A/x": failed, "e2e/AB": passed}
	first.output["e2e/A/x"] = &strings.Builder{}
	first.output["e2e/A/x"].WriteString("the first try's words")
	second, _ := newTestJournal("e2e")
	second.results = results{"e2e/A": skipped}
	first.replace(second)
	if len(first.results) != 2 || first.results["e2e/A"] != skipped || first.results["e2e/AB"] != passed {
		t.Errorf("results are %v", first.results)
	}
	if said := first.says("e2e/A"); said != "" {
		t.Errorf("A still says %q", said)
	}
}
