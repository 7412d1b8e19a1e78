package reseal

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestThePagesSayTheSameNumbers: what is stated twice agrees.
func TestThePagesSayTheSameNumbers(t *testing.T) {
	for page, words := range map[string][]string{
		"../docs/sealing.md": {"at most 1,000 values a second", fmt.Sprintf("more than %v times as long", slower),
			"fill four fifths of the quota", "stops at nine tenths", "for\na fifth of its time"},
		"../docs/design/09-resealing.md": {"2,000 at a time", fmt.Sprintf("values within those, %d to %d at a time", leastPage, mostPage), fmt.Sprintf("take %v times as long", slower),
			fmt.Sprintf("above %d %%", fullAt), fmt.Sprintf("stops at %d %%", stopAt)},
	} {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(data)), " ")
		for _, w := range words {
			if w = strings.Join(strings.Fields(w), " "); !strings.Contains(text, w) {
				t.Errorf("%s does not say %q", page, w)
			}
		}
	}
	if DefaultRate != 1000 || stride != 2000 || fullAt != 80 || stopAt != 90 || cycleTime != 5*quietTime || restFactor != 9 {
		t.Error("a number that the pages say in words has changed")
	}
}
