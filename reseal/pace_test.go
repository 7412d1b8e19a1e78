package reseal

import (
	"testing"
	"time"
)

// plant is a cluster as a pacer sees it: a write takes base, and longer the more
// values a second are rewritten.
type plant struct {
	base time.Duration
	slow func(rate float64) float64 // by how many times
}

// run drives a pacer for some cycles on a clock of its own and returns the rates.
func (p plant) run(pace *pacer, cycles int) (rates []float64) {
	now := time.Unix(0, 0)
	for end := now.Add(time.Duration(cycles) * cycleTime); now.Before(end); {
		now = now.Add(pace.delay(now))
		rate := pace.rate
		rates = append(rates, rate)
		if pace.isQuiet(now) {
			rate = quietRate
		}
		pace.took(now, time.Duration(float64(p.base)*p.slow(rate)))
	}
	return rates
}

func TestPacerKeepsWritesNearTheirUsualTime(t *testing.T) {
	for _, test := range []struct {
		name     string
		plant    plant
		low, top float64 // where the rate settles
	}{
		{"a cluster with nothing to do", plant{time.Millisecond, func(float64) float64 { return 1 }}, 999, 1000},
		{"a busy one: 6 % slower at 200 a second", plant{9 * time.Millisecond, func(r float64) float64 { return 1 + 0.06*r/200 }}, 150, 260},
		{"one that bears nothing", plant{50 * time.Millisecond, func(r float64) float64 { return 1 + r/50 }}, floor, floor * 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			rates := test.plant.run(newPacer(1000), 120)
			for _, rate := range rates[len(rates)*3/4:] {
				if rate < test.low || rate > test.top {
					t.Fatalf("the rate is %.0f, want %.0f to %.0f", rate, test.low, test.top)
				}
			}
			for _, rate := range rates {
				if rate < floor || rate > 1000 {
					t.Fatalf("the rate was %.0f", rate)
				}
			}
		})
	}
}

func TestPacerNeverGoesAboveWhatIsAllowed(t *testing.T) {
	for _, most := range []float64{1, 10, 50} {
		pace := newPacer(most)
		now := time.Unix(0, 0)
		begin, n := now, 0
		for now.Sub(begin) < 20*cycleTime {
			now = now.Add(pace.delay(now))
			pace.took(now, time.Millisecond)
			n++
		}
		if allowed := most*now.Sub(begin).Seconds() + 1; float64(n) > allowed {
			t.Errorf("%v a second: %d in %v", most, n, now.Sub(begin))
		}
	}
}

func TestNobodySavesUpPlaces(t *testing.T) {
	pace := newPacer(100)
	now := time.Unix(1000, 0)
	pace.delay(now)
	now = now.Add(time.Hour)
	pace.delay(now)
	if d := pace.delay(now); d <= 0 {
		t.Error("an idle hour made a burst")
	}
}

func TestMeter(t *testing.T) {
	var m meter
	if m.perSecond() != 0 {
		t.Error("a rate of nothing")
	}
	now := time.Unix(0, 0)
	for i := range 40 {
		m.mark(now.Add(time.Duration(i)*time.Second), int64(i*i))
	}
	if got := m.perSecond(); got != 24+39 {
		t.Errorf("%v a second, want that of the last 16 marks", got)
	}
}
