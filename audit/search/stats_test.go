package search

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestStatsAreWhatCountingRowsGives counts again from the rows that Find gives, over
// several segments, and over a part of the time.
func TestStatsAreWhatCountingRowsGives(t *testing.T) {
	w := newWriter(t, t.TempDir(), 11, 200_000)
	w.odd = true
	w.some(t, 4000)
	w.flush(t)
	rows := everyRow(t, w.dir)
	middle := rows[len(rows)/2].Event.Time
	r := New(Config{Logs: []Log{{"m1", w.dir}}})
	for _, q := range []Query{{}, {Since: middle}, {Callers: []CallerIs{{"", "team-a"}}, Until: middle}, {Failed: true}, {Denied: true}} {
		type key struct{ caller, action string }
		want := map[key]Use{}
		denied := int64(0)
		use := func(k key, change func(*Use)) {
			u := want[k]
			change(&u)
			want[k] = u
		}
		for _, row := range rows {
			if !row.matches(&q) {
				continue
			}
			e, last := row.Event, row.Last()
			name := ""
			if e.Caller != nil {
				name = e.Caller.Name
			}
			for _, c := range e.Counts {
				use(key{name, c.Action}, func(u *Use) { u.Thinned += c.N; u.Keys += c.Keys; u.Bytes += c.Bytes })
			}
			if !isRequest(e.Kind, e.Decision != "") {
				continue
			}
			action := e.Action
			if e.Kind == kindHandshake {
				action = kindHandshake
			}
			use(key{name, action}, func(u *Use) {
				u.Requests++
				switch {
				case e.Kind == kindDenied:
					u.Denied++
					denied++
					return
				case last.Code != "" && last.Code != codeOK:
					u.Failed++
				}
				u.Keys += last.Keys
				u.Bytes += last.Bytes
			})
		}
		got, err := r.Stats(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Uses) != len(want) || len(want) == 0 {
			t.Errorf("%+v: %d uses, want %d", q, len(got.Uses), len(want))
		}
		for _, u := range got.Uses {
			w := want[key{u.Caller, u.Action}]
			w.Caller, w.Action, w.P50, w.P99 = u.Caller, u.Action, u.P50, u.P99
			if u != w {
				t.Errorf("%+v:\n got %+v\nwant %+v", q, u, w)
			}
			if u.P50 > u.P99 {
				t.Errorf("the median %d is over %d", u.P50, u.P99)
			}
		}
		for i, d := range got.Denied {
			denied -= d.N
			if i < mostExamples && (d.Example == nil || d.Example.Seq != d.Seq || d.Example.Action != d.Action || !d.Example.Time.Equal(d.Last)) {
				t.Errorf("%+v has the example %+v", d, d.Example)
			}
		}
		if denied != 0 {
			t.Errorf("%+v: %d denials too few", q, denied)
		}
	}
}

func TestWhatIsNewWasNotSeenBefore(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	who := func(name, serial, action string) entry {
		return entry(`"kind":"access","caller":{"name":"` + name + `","serial":"` + serial + `"},"action":"` + action + `","code":"OK"`)
	}
	for range 300 { // so that before and after are segments of their own
		put(t, j, who("old", "1", "KV.Range"))
	}
	time.Sleep(time.Millisecond)
	since := time.Now()
	put(t, j, who("old", "1", "KV.Range"))
	put(t, j, who("old", "2", "KV.Range"))
	put(t, j, who("old", "1", "Maintenance.Snapshot"))
	put(t, j, who("young", "3", "KV.Put"))
	r := New(Config{Logs: []Log{{"", dir}}})
	s, err := r.Stats(t.Context(), Query{Since: since})
	if err != nil {
		t.Fatal(err)
	}
	said := func(all []Seen) (out []string) {
		for _, s := range all {
			out = append(out, s.Caller+" "+s.What)
		}
		return out
	}
	if n := s.News; n == nil || n.Before <= 0 || !slices.Equal(said(n.Callers), []string{"young "}) ||
		!slices.Equal(said(n.Serials), []string{"old 2", "young 3"}) || !slices.Equal(said(n.Actions), []string{"old Maintenance.Snapshot"}) {
		t.Errorf("news: %+v", n)
	}
	if s, err = r.Stats(t.Context(), Query{Since: since.Add(-time.Hour)}); err != nil || s.News == nil || s.News.Before != 0 || len(s.News.Callers) != 0 {
		t.Errorf("before the record begins: %+v, %v", s.News, err)
	}
}

func TestQuantilesAreToAnEighth(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var h histogram
		var all []int64
		for range 1 + rnd.IntN(50) {
			v := 1 + rnd.Int64N(1<<rnd.IntN(62))
			h.add(v)
			all = append(all, v)
		}
		slices.SortFunc(all, cmp.Compare[int64])
		for _, percent := range []int{50, 99} {
			want := all[(len(all)*percent+99)/100-1]
			if got := h.quantile(percent); got < want || float64(got) > float64(want)*1.125+1 {
				t.Fatalf("%d %% of %v: %d, want %d", percent, all, got, want)
			}
		}
	}
}
