package report

import (
	"math"
	"testing"
)

func byRound(v ...float64) map[int]float64 {
	out := map[int]float64{}
	for i, x := range v {
		out[i+1] = x
	}
	return out
}

func TestSpreadIsTheMedianAndItsBounds(t *testing.T) {
	for _, c := range []struct {
		name   string
		rounds map[int]float64
		want   spread
	}{
		{"one round", byRound(3), spread{3, 3, 3, 1}},
		{"odd, unsorted", byRound(9, 1, 5), spread{5, 1, 9, 3}},
		{"even: the middle of the middle two", byRound(8, 2, 4, 100), spread{6, 2, 100, 4}},
		{"an outlier does not move the median", byRound(1, 1, 1, 1, 1e9), spread{1, 1, 1e9, 5}},
		{"negative", byRound(-2, -1, -3), spread{-2, -3, -1, 3}},
	} {
		if got := spreadOf(c.rounds); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestNothingMeasuredIsNotZero(t *testing.T) {
	s := spreadOf(nil)
	if !math.IsNaN(s.Median) || !math.IsNaN(s.Min) || !math.IsNaN(s.Max) {
		t.Errorf("got %+v, want NaN throughout", s)
	}
	if got := s.format(number); got != "–" {
		t.Errorf("prints %q, want a dash", got)
	}
	if got := (limit{atMost: 1}).verdict(s); got != "not measured" {
		t.Errorf("is judged %q, want not measured", got)
	}
	if got := (limit{atLeast: 1}).verdict(s); got != "not measured" {
		t.Errorf("is judged %q, want not measured", got)
	}
}

// The machine gets twice as slow in every round. The quotient of the medians
// happens to be right, but only pairing shows that the ratio never moved.
func TestRatiosPairRounds(t *testing.T) {
	guard, base := byRound(90, 45, 22.5), byRound(100, 50, 25)
	if got, want := spreadOf(ratios(guard, base)), (spread{0.9, 0.9, 0.9, 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRatiosLeaveOutRoundsThatOnlyOneSideHas(t *testing.T) {
	got := ratios(map[int]float64{1: 1, 2: 6, 4: 8}, map[int]float64{2: 3, 3: 1, 4: 0})
	if len(got) != 1 || got[2] != 2 {
		t.Errorf("got %v, want only round 2, at 2", got)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		limit  limit
		median float64
		want   string
	}{
		{limit{atLeast: 1.5}, 1.5, "reached"},
		{limit{atLeast: 1.5}, 1.49, "**missed**"},
		{limit{atMost: 1.1}, 1.1, "reached"},
		{limit{atMost: 1.1}, 1.11, "**missed**"},
	} {
		if got := c.limit.verdict(spread{Median: c.median}); got != c.want {
			t.Errorf("%v of %v is %q, want %q", c.limit, c.median, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0.123: "0.12", 9.994: "9.99", 12.34: "12.3", 999: "999", 1000: "1,000", 1234567.4: "1,234,567", 123456: "123,456",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) is %q, want %q", v, got, want)
		}
	}
}
