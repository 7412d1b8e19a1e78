package member

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/etcdguard/etcdguard/guard"
)

// declared is a Registerer that only notes the names of what it is given.
type declared map[string]bool

var metricName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (d declared) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 16)
	c.Describe(descs)
	close(descs)
	for desc := range descs {
		d[metricName.FindStringSubmatch(desc.String())[1]] = true
	}
	return nil
}

func (d declared) MustRegister(...prometheus.Collector) {}
func (d declared) Unregister(prometheus.Collector) bool { return false }

func TestEveryMetricIsExportedAndNamesNoKey(t *testing.T) {
	names := declared{}
	_, err := guard.NewMetrics(names)
	check(t, err)
	_, err = newMetrics(names)
	check(t, err)
	if len(names) < 10 {
		t.Fatalf("only %d metrics are declared", len(names))
	}

	w := newWorld(t)
	c, err := w.config("listen-metrics-urls=http://" + freeAddress(t))
	check(t, err)
	c.Registry = prometheus.DefaultRegisterer // what /metrics shows; no other test of this package may
	m, err := Start(withTimeout(t), c)
	check(t, err)
	t.Cleanup(func() { m.Stop("the test is over") })

	const key, value = "/w/MARKER-KEY", "MARKER-VALUE"
	ctx := withTimeout(t)
	_, err = w.client("admin").Put(ctx, key, value)
	check(t, err)
	if _, err := w.client("watcher").Put(ctx, key, value); err == nil {
		t.Fatal("watcher may put")
	}
	if _, err := w.client("MARKER-STRANGER").Get(ctx, key); err == nil {
		t.Fatal("a stranger may get")
	}
	watching := w.client("watcher").Watch(ctx, key, withPrefix)
	_, err = w.client("admin").Put(ctx, key, value)
	check(t, err)
	if r := <-watching; r.Err() != nil || len(r.Events) == 0 {
		t.Fatalf("watching: %v", r.Err())
	}
	m.Reload()

	for where, get := range map[string]func() (*http.Response, error){
		"the client port":       func() (*http.Response, error) { return w.curl("monitor").Get("https://" + w.clientAddr + "/metrics") },
		"--listen-metrics-urls": func() (*http.Response, error) { return http.Get(c.Etcd.ListenMetricsUrls[0].String() + "/metrics") },
	} {
		r, err := get()
		check(t, err)
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		check(t, err)
		page := string(body)
		for name := range names {
			if !strings.Contains(page, "\n"+name+"{") && !strings.Contains(page, "\n"+name+" ") && !strings.Contains(page, "\n"+name+"_bucket{") {
				t.Errorf("%s does not export %s", where, name)
			}
		}
		if !strings.Contains(page, "\netcd_server_has_leader 1") {
			t.Errorf("%s does not export etcd's own metrics", where)
		}
		if strings.Contains(page, "MARKER") {
			t.Errorf("%s shows a key, a value or a stranger's name", where)
		}
		for _, want := range []string{
			`etcdguard_decisions_total{action="KV.Put",caller="admin",result="allowed"} 2`,
			`etcdguard_decisions_total{action="KV.Put",caller="watcher",result="denied"} 1`,
			`etcdguard_decisions_total{action="KV.Range",caller="unmatched",result="denied"} 1`,
			`etcdguard_watchers{caller="watcher"} 1`,
			`etcdguard_policy_enforcing 1`,
		} {
			if !strings.Contains(page, "\n"+want+"\n") {
				t.Errorf("%s does not show %s", where, want)
			}
		}
	}
}
