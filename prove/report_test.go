package prove

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// wholeReport is a report in which everything held.
func wholeReport() Report {
	r := Report{Version: 1, Host: "h", Nodes: []string{"m1"}}
	for _, c := range slices.Concat(doors, stored) {
		r.Findings = append(r.Findings, Finding{Claim: c.name, Node: "m1", Result: Held})
	}
	return r
}

func TestAReportThatIsNotWholeIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Report){
		"":                         func(*Report) {},
		"names no node":            func(r *Report) { r.Nodes = nil },
		"says nothing of":          func(r *Report) { r.Findings = r.Findings[1:] },
		`on "m2"`:                  func(r *Report) { r.Nodes = append(r.Nodes, "m2") },
		`says "passed"`:            func(r *Report) { r.Findings[1].Result = "passed" },
		`on "m1"; it is not whole`: func(r *Report) { r.Findings = nil },
	} {
		r := wholeReport()
		change(&r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadReport(data); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
