package member

import (
	"flag"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
)

// parse runs ParseOptions under an environment.
func parse(t *testing.T, environment map[string]string, args ...string) (*Options, error) {
	t.Helper()
	for name, value := range environment {
		t.Setenv(name, value)
	}
	return ParseOptions(args, io.Discard, io.Discard)
}

// The order of etcd 3.7: flags and variables beside each other, and a configuration
// file is the only voice where there is one. The guard's own option is heeded always.
func TestPrecedenceIsEtcds(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/etcd.yaml"
	check(t, os.WriteFile(file, []byte("name: of-the-file\ndata-dir: "+dir+"/data\n"), 0o600))
	for name, c := range map[string]struct {
		environment map[string]string
		args        []string
		name, guard string
	}{
		"the default":                   {nil, nil, embed.DefaultName, ""},
		"a variable":                    {map[string]string{"ETCD_NAME": "of-the-env", "ETCD_GUARD_CONFIG": "g.env"}, nil, "of-the-env", "g.env"},
		"a flag":                        {nil, []string{"--name=of-the-flag", "--guard-config=g.flag"}, "of-the-flag", "g.flag"},
		"a flag and another's variable": {map[string]string{"ETCD_DATA_DIR": dir, "ETCD_GUARD_CONFIG": "g.env"}, []string{"--name=of-the-flag", "--guard-config=g.flag"}, "of-the-flag", "g.flag"},
		"one dash":                      {nil, []string{"-name", "of-the-flag"}, "of-the-flag", ""},
		"a file":                        {nil, []string{"--config-file=" + file, "--guard-config=g.flag"}, "of-the-file", "g.flag"},
		"a file beats flags":            {nil, []string{"--config-file=" + file, "--name=of-the-flag", "--guard-config=g.flag"}, "of-the-file", "g.flag"},
		"a file beats variables":        {map[string]string{"ETCD_NAME": "of-the-env", "ETCD_GUARD_CONFIG": "g.env"}, []string{"--config-file=" + file}, "of-the-file", "g.env"},
		"a file by variable":            {map[string]string{"ETCD_CONFIG_FILE": file, "ETCD_NAME": "of-the-env"}, nil, "of-the-file", ""},
		"the file's flag is first":      {map[string]string{"ETCD_CONFIG_FILE": dir + "/absent"}, []string{"--config-file=" + file}, "of-the-file", ""},
		// etcd passes over what it does not know and over a variable of that name.
		"unknown variables": {map[string]string{"ETCD_NO_SUCH_THING": "1", "ETCD_VERSION": "3.7", "ETCDCTL_API": "3"}, nil, embed.DefaultName, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(t, c.environment, c.args...)
			check(t, err)
			if o.Etcd.Name != c.name || o.GuardFile != c.guard {
				t.Errorf("name %q, guard %q; want %q, %q", o.Etcd.Name, o.GuardFile, c.name, c.guard)
			}
		})
	}
}

// etcd refuses an option that is given twice, and so does the member: neither
// silently wins.
func TestAnOptionInBothPlacesIsRefused(t *testing.T) {
	_, err := parse(t, map[string]string{"ETCD_NAME": "of-the-env", "ETCD_DATA_DIR": ""}, "--name=of-the-flag", "--data-dir=x")
	if err == nil || !strings.Contains(err.Error(), "ETCD_NAME and --name") || !strings.Contains(err.Error(), "ETCD_DATA_DIR and --data-dir") {
		t.Errorf("the error is %v", err)
	}
}

// Images keep passwords in variables that look like etcd's.
func TestUnknownVariablesAreNamedWithoutTheirValues(t *testing.T) {
	log := t.TempDir() + "/log"
	_, err := parse(t, map[string]string{"ETCD_ROOT_PASSWORD": "MARKER", "ETCD_DISCOVERY_PASSWORD": "MARKER"}, "--log-outputs="+log)
	check(t, err)
	text := string(mustRead(t, log))
	if !strings.Contains(text, "ETCD_ROOT_PASSWORD") || strings.Contains(text, "MARKER") {
		t.Errorf("the log:\n%s", text)
	}
}

// etcdsFlags are the flags that etcd's own parser has: those of its configuration
// and those that its main adds by hand, read from its source.
func etcdsFlags(t *testing.T) []string {
	t.Helper()
	set := flag.NewFlagSet("etcd", flag.ContinueOnError)
	embed.NewConfig().AddFlags(set)
	var names []string
	set.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if len(names) < 100 {
		t.Fatalf("embed has only %d flags", len(names))
	}
	// etcdmain/config.go keeps its set to itself.
	source := etcdSource(t, "etcdmain/config.go")
	byHand := regexp.MustCompile(`fs\.\w+\((?:[&\w.]+, )?"([a-z0-9.-]+)"`).FindAllStringSubmatch(source, -1)
	ignored := regexp.MustCompile(`(?s)ignored = \[\]string\{(.*?)\}`).FindStringSubmatch(source)
	if len(byHand) < 4 || ignored == nil {
		t.Fatalf("etcdmain/config.go does not read as it did: %q, %q", byHand, ignored)
	}
	for _, m := range byHand {
		names = append(names, m[1])
	}
	for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(ignored[1], -1) {
		names = append(names, m[1])
	}
	sort.Strings(names)
	return slices.Compact(names)
}

// TestEveryFlagOfEtcdIsTaken is against drift: a flag that the next etcd brings
// must be found missing here and not by an operator.
func TestEveryFlagOfEtcdIsTaken(t *testing.T) {
	p := newParser(io.Discard)
	names := etcdsFlags(t)
	for _, must := range []string{"name", "version", "config-file", "initial-cluster-state", "discovery-fallback", "v2-deprecation", "peer-election-timeout", "vv"} {
		if !slices.Contains(names, must) {
			t.Errorf("--%s is not among etcd's flags as this test reads them", must)
		}
	}
	for _, name := range names {
		if p.set.Lookup(name) == nil {
			t.Errorf("etcd's --%s is not taken", name)
		}
	}
	p.set.VisitAll(func(f *flag.Flag) {
		if f.Name != "guard-config" && !slices.Contains(names, f.Name) {
			t.Errorf("--%s is not etcd's", f.Name)
		}
	})
}

// Flags whose values etcd's main moves into place by hand, where one is easily
// forgotten.
func TestFlagsReachEtcdsConfiguration(t *testing.T) {
	o, err := parse(t, nil,
		"--listen-peer-urls=https://127.0.0.1:1", "--initial-advertise-peer-urls=https://127.0.0.1:2",
		"--listen-client-urls=https://127.0.0.1:3", "--advertise-client-urls=https://127.0.0.1:4",
		"--listen-client-http-urls=https://127.0.0.1:5", "--listen-metrics-urls=http://127.0.0.1:6",
		"--cors=https://a.example:1", "--host-whitelist=b.example", "--client-cert-allowed-hostname=c.example",
		"--peer-cert-allowed-cn=d", "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"--max-concurrent-streams=7", "--log-outputs=stderr", "--initial-cluster-state=existing",
		"--initial-cluster=m=https://127.0.0.1:2", "--name=m", "--feature-gates=StopGRPCServiceOnDefrag=true",
		"--raft-read-timeout=11s", "--grpc-keepalive-min-time=12s", "--enable-pprof")
	check(t, err)
	c := o.Etcd
	urls := func(us []url.URL) string {
		var all []string
		for _, u := range us {
			all = append(all, u.String())
		}
		return strings.Join(all, ",")
	}
	for what, pair := range map[string][2]string{
		"listen-peer-urls":             {urls(c.ListenPeerUrls), "https://127.0.0.1:1"},
		"initial-advertise-peer-urls":  {urls(c.AdvertisePeerUrls), "https://127.0.0.1:2"},
		"listen-client-urls":           {urls(c.ListenClientUrls), "https://127.0.0.1:3"},
		"advertise-client-urls":        {urls(c.AdvertiseClientUrls), "https://127.0.0.1:4"},
		"listen-client-http-urls":      {urls(c.ListenClientHttpUrls), "https://127.0.0.1:5"},
		"listen-metrics-urls":          {urls(c.ListenMetricsUrls), "http://127.0.0.1:6"},
		"client-cert-allowed-hostname": {strings.Join(clientTrust(c).AllowedHostnames, ","), "c.example"},
		"peer-cert-allowed-cn":         {strings.Join(c.PeerTLSInfo.AllowedCNs, ","), "d"},
		"initial-cluster-state":        {c.ClusterState, "existing"},
		"data-dir":                     {c.Dir, "m.etcd"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("--%s arrives as %q, want %q", what, pair[0], pair[1])
		}
	}
	if _, ok := c.CORS["https://a.example:1"]; !ok {
		t.Errorf("--cors arrives as %v", c.CORS)
	}
	if _, ok := c.HostWhitelist["b.example"]; !ok {
		t.Errorf("--host-whitelist arrives as %v", c.HostWhitelist)
	}
	if len(clientTrust(c).CipherSuites) != 1 || c.MaxConcurrentStreams != 7 || c.GRPCKeepAliveMinTime != 12*time.Second || rafthttp.ConnReadTimeout != 11*time.Second {
		t.Errorf("%v, %d, %v, %v", clientTrust(c).CipherSuites, c.MaxConcurrentStreams, c.GRPCKeepAliveMinTime, rafthttp.ConnReadTimeout)
	}
	if !c.ServerFeatureGate.Enabled("StopGRPCServiceOnDefrag") {
		t.Error("--feature-gates does not arrive")
	}
	if !c.FlagsExplicitlySet["enable-pprof"] || c.FlagsExplicitlySet["enable-grpc-gateway"] {
		t.Errorf("explicitly set: %v", c.FlagsExplicitlySet)
	}
}

func TestEtcdsOwnRefusalsStand(t *testing.T) {
	for flags, want := range map[string]string{
		"--listen-client-urls=https://127.0.0.1:1":       "advertise-client-urls",
		"--heartbeat-interval=0":                         "heartbeat-interval",
		"--initial-cluster-state=new2":                   "initial-cluster-state",
		"--tls-min-version=TLS1.3 --cipher-suites=TLS_X": "cipher suites",
		"--discovery-token=x":                            "discovery-endpoints",
		"--discovery-fallback=proxy":                     "--discovery-fallback",
		"--feature-gates=NoSuchGate=true":                "NoSuchGate",
		"--max-wals=many":                                "max-wals",
		"--no-such-flag":                                 "no-such-flag",
		"gateway start":                                  `"gateway" is not a valid flag`,
	} {
		if _, err := parse(t, nil, strings.Fields(flags)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %q", flags, err, want)
		}
	}
	if _, err := parse(t, map[string]string{"ETCD_MAX_WALS": "many"}); err == nil || !strings.Contains(err.Error(), "ETCD_MAX_WALS") {
		t.Errorf("a bad variable: %v", err)
	}
}

// etcd passes over fields that it does not know: client-cert-auht is an open door.
func TestUnknownFieldsOfEtcdsFileAreRefusedByName(t *testing.T) {
	for text, want := range map[string]string{
		"name: m\nclient-cert-auht: true\n":                                  "client-cert-auht",
		"client-transport-security: {cert-file: a, client-cert-aut: true}\n": "client-transport-security.client-cert-aut",
		"peer-transport-security: {trusted-ca: a}\nunknown: 1\n":             "peer-transport-security.trusted-ca, unknown",
		"name: a\nname: b\n":                         "name",
		"client-transport-security: {crl-file: a}\n": "client-transport-security.crl-file",
		"client-transport-security: {cert-file: a, key-file: b}\nguard-config: g.yaml": "guard-config",
	} {
		file := t.TempDir() + "/etcd.yaml"
		check(t, os.WriteFile(file, []byte(text), 0o600))
		if _, err := parse(t, nil, "--config-file="+file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %q", text, err, want)
		}
	}
}

// TestEveryFieldOfEtcdsFileIsKnown reads etcd's sample and structs: what etcd
// takes must not be refused here.
func TestEveryFieldOfEtcdsFileIsKnown(t *testing.T) {
	source := etcdSource(t, "embed/config.go")
	structs := map[string]map[string]bool{"Config": etcdFileFields(), "configJSON": etcdFileFields(), "securityConfig": securityFields}
	for name, known := range structs {
		body := regexp.MustCompile(`(?s)type ` + name + ` struct \{(.*?)\n\}`).FindStringSubmatch(source)
		if body == nil {
			t.Fatalf("embed/config.go has no struct %s", name)
		}
		fields := regexp.MustCompile("json:\"([a-z0-9-]+)").FindAllStringSubmatch(body[1], -1)
		if len(fields) < 8 {
			t.Fatalf("%s has only the fields %q", name, fields)
		}
		for _, f := range fields {
			if f[1] != "-" && !known[f[1]] {
				t.Errorf("the field %s of %s is refused", f[1], name)
			}
		}
	}
}

func TestAFileIsHeededAsEtcdHeedsIt(t *testing.T) {
	w := newWorld(t)
	file := w.file("etcd.yaml")
	w.write("etcd.yaml", []byte(`
name: m1
data-dir: `+w.file("data")+`
listen-client-urls: https://`+w.clientAddr+`
advertise-client-urls: https://`+w.clientAddr+`
listen-peer-urls: https://`+w.peerAddr+`
initial-advertise-peer-urls: https://`+w.peerAddr+`
initial-cluster: m1=https://`+w.peerAddr+`
unsafe-no-fsync: true
log-outputs: [`+w.file("log")+`]
client-transport-security:
  cert-file: `+w.file("server.crt")+`
  key-file: `+w.file("server.key")+`
  client-cert-auth: true
  trusted-ca-file: `+w.file("ca.crt")+`
  allowed-cn: [admin, monitor]
peer-transport-security:
  cert-file: `+w.file("peer.crt")+`
  key-file: `+w.file("peer.key")+`
  client-cert-auth: true
  trusted-ca-file: `+w.file("peer-ca.crt")+`
`))
	w.flags = map[string]string{"config-file": file, "guard-config": w.file("guard.yaml")}
	w.start("initial-cluster=-")
	_, err := w.client("admin").Put(withTimeout(t), "/w/a", "1")
	check(t, err)
	if r, err := w.curl("watcher").Get("https://" + w.clientAddr + "/health"); err == nil {
		r.Body.Close()
		t.Errorf("a client that allowed-cn does not name got a connection and %d", r.StatusCode)
	}
	for field, want := range map[string]string{"enable-grpc-gateway: true": "unsafe-json-gateway", "enable-pprof: true": "unsafe-pprof", "log-level: debug": "unsafe-pprof"} {
		w.write("etcd.yaml", append([]byte(field+"\n"), mustRead(t, file)...))
		if _, err := w.tryStart("initial-cluster=-"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s in the file: %v", field, err)
		}
	}
}

// What operators rely on without writing it down.
func TestDefaultsAreEtcds(t *testing.T) {
	o, err := parse(t, nil)
	check(t, err)
	if o.Etcd.GRPCKeepAliveMinTime != 5*time.Second || o.Etcd.GRPCKeepAliveInterval != 2*time.Hour || o.Etcd.GRPCKeepAliveTimeout != 20*time.Second {
		t.Errorf("keepalive: %v, %v, %v", o.Etcd.GRPCKeepAliveMinTime, o.Etcd.GRPCKeepAliveInterval, o.Etcd.GRPCKeepAliveTimeout)
	}
	if o.Etcd.Dir != "default.etcd" {
		t.Errorf("data directory %q", o.Etcd.Dir)
	}
	inner := withoutDoors(o.Etcd)
	if inner.ListenClientUrls != nil || inner.ListenClientHttpUrls != nil || inner.ListenMetricsUrls != nil || inner.EnableGRPCGateway || inner.EnablePprof {
		t.Error("etcd itself is given a door for clients")
	}
	if len(inner.AdvertiseClientUrls) == 0 || len(o.Etcd.ListenClientUrls) == 0 {
		t.Error("the member's own configuration was changed, or what it advertises is lost")
	}
}

func mustRead(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	check(t, err)
	return data
}

// etcdSource is a file of the server's module, where the build found it.
func etcdSource(t *testing.T, name string) string {
	t.Helper()
	return string(mustRead(t, etcdModule(t)+"/"+name))
}
