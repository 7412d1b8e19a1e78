package member

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"
	"sigs.k8s.io/yaml"

	"github.com/etcdguard/etcdguard/internal/strictyaml"
	"github.com/etcdguard/etcdguard/kms"
)

// GuardConfig is the guard's configuration file.
type GuardConfig struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	// Policy is the policy file, relative to the directory of this one.
	Policy string `yaml:"policy"`
	// Sealing is how values are sealed; nil: they are not, and data that is sealed is
	// not served.
	Sealing *SealingConfig `yaml:"sealing"`

	// Audit is where and how requests are recorded; nil: they are not, and the member
	// says so.
	Audit *AuditConfig `yaml:"audit"`

	// UnsafePlaintextClients allows http:// and unix:// client URLs: callers there
	// are nobody, and what they say can be read and changed on its way.
	UnsafePlaintextClients bool `yaml:"unsafe-plaintext-clients"`
	// UnsafeAnonymousClients allows a client port that demands no certificate.
	UnsafeAnonymousClients bool `yaml:"unsafe-anonymous-clients"`
	// UnsafeSharedCA allows peers and clients to have an authority in common: any
	// client can then speak as a member on the peer port.
	UnsafeSharedCA bool `yaml:"unsafe-shared-ca"`
	// UnsafePeers allows a peer port that demands no certificate.
	UnsafePeers bool `yaml:"unsafe-peers"`
	// UnsafePprof allows --enable-pprof and --log-level=debug, and serves
	// /debug/pprof on the client port to callers who may HTTP.Debug.
	UnsafePprof bool `yaml:"unsafe-pprof"`
	// UnsafeJSONGateway allows --enable-grpc-gateway: JSON over HTTP/1.1 under /v3/.
	// Callers are who their certificate says there too, but fields that the gateway
	// does not know are dropped and not refused.
	UnsafeJSONGateway bool `yaml:"unsafe-json-gateway"`
	// UnsafeOpenDataDir allows a data directory that others can read.
	UnsafeOpenDataDir bool `yaml:"unsafe-open-data-dir"`
}

// SealingConfig is what sealing needs on this member.
type SealingConfig struct {
	// Providers wrap the data keys, each of them every one; any of them opens the ring.
	Providers []kms.Config `yaml:"providers"`
	// Mirror is the file that keeps the wrapped ring on this member's disk, relative to
	// the directory of the guard's configuration; "" is etcdguard-ring.json in the data
	// directory.
	Mirror string `yaml:"mirror"`
}

// AuditConfig is what the audit log needs on this member.
type AuditConfig struct {
	// Dir is the log's directory, relative to that of the guard's configuration; "" is
	// audit in the data directory. A disk of its own spares etcd's.
	Dir string `yaml:"dir"`
	// OnFailure says what happens while the log can't be written: deny (the default)
	// serves nobody, serve lets requests through unrecorded and counts them.
	OnFailure string `yaml:"on-failure"`
	// MaxBytes is what the log may take, such as 4GiB (the default): the oldest
	// segments go when it is reached.
	MaxBytes string `yaml:"max-bytes"`
	// SegmentBytes is the size of one file, 64MiB by default.
	SegmentBytes string `yaml:"segment-bytes"`
	// MinFreeBytes is what stays free on the file system, 256MiB by default: the log
	// stops before it fills the disk under etcd.
	MinFreeBytes string `yaml:"min-free-bytes"`
}

// providers makes the key providers; none without sealing.
func (c *GuardConfig) providers() ([]kms.Provider, error) {
	if c.Sealing == nil {
		return nil, nil
	}
	return kms.Open(c.Sealing.Providers, "")
}

const (
	guardAPIVersion = "etcdguard.dev/v1"
	guardKind       = "Guard"
)

// howToGetOne ends every complaint about a guard configuration that is not there.
const howToGetOne = `write one that says "apiVersion: ` + guardAPIVersion + `", "kind: ` + guardKind +
	`" and "policy: policy.yaml", and give it as --guard-config FILE; "etcdguard up" makes an example`

// LoadGuardConfig reads the guard's configuration, strictly.
func LoadGuardConfig(file string) (*GuardConfig, error) {
	if file == "" {
		return nil, fmt.Errorf("no guard configuration: a member does not start unguarded; %s", howToGetOne)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the guard configuration: %w; %s", err, howToGetOne)
	}
	c := &GuardConfig{}
	doc, err := strictyaml.Decode(file, data, c)
	if err != nil {
		return nil, err
	}
	var problems strictyaml.Problems
	complain := func(field, message, fix string) {
		problems = append(problems, strictyaml.Problem{File: file, Line: doc.Line(field), Field: field, Message: message, Fix: fix})
	}
	if c.APIVersion != guardAPIVersion {
		complain("apiVersion", "is not a version that this etcdguard reads", "apiVersion: "+guardAPIVersion)
	}
	if c.Kind != guardKind {
		complain("kind", "this is not a guard configuration", "kind: "+guardKind)
	}
	if c.Policy == "" {
		complain("policy", "a guard needs a policy", "policy: policy.yaml")
	}
	if c.Sealing != nil {
		for _, p := range kms.Check(c.Sealing.Providers) {
			complain("sealing."+p.Field, p.Message, p.Fix)
		}
	}
	if c.Audit != nil {
		c.Audit.check(complain)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	c.resolve(filepath.Dir(file))
	return c, nil
}

// resolve makes the paths in c absolute, or relative to where the process is: they are
// written relative to the file that they stand in.
func (c *GuardConfig) resolve(dir string) {
	names := []*string{&c.Policy}
	if c.Sealing != nil {
		names = append(names, &c.Sealing.Mirror)
		for i := range c.Sealing.Providers {
			l := c.Sealing.Providers[i].Local
			names = append(names, &l.KeyFile, &l.PassphraseFile)
		}
	}
	if c.Audit != nil {
		names = append(names, &c.Audit.Dir)
	}
	for _, name := range names {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
}

// checkConfigFile refuses fields that etcd does not know. etcd passes over them,
// and a misspelt client-cert-auth is an open door.
func checkConfigFile(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading etcd's configuration: %w", err)
	}
	var fields map[string]any
	if err := yaml.UnmarshalStrict(data, &fields); err != nil {
		return fmt.Errorf("reading etcd's configuration %s: %w", file, err)
	}
	known := etcdFileFields()
	var unknown []string
	for name, value := range fields {
		if !known[name] {
			unknown = append(unknown, name)
		}
		if section, ok := value.(map[string]any); ok && strings.HasSuffix(name, "transport-security") {
			for inner := range section {
				if !securityFields[inner] {
					unknown = append(unknown, name+"."+inner)
				}
			}
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("etcd's configuration %s has fields that etcd %s does not know and would pass over: %s; correct or remove them",
			file, "3.7", strings.Join(unknown, ", "))
	}
	return nil
}

// etcdFileFields are the fields of etcd's configuration file: those of
// embed.Config that JSON can set, and those of its unexported companion, which
// etcd parses by hand (embed/config.go, configJSON).
func etcdFileFields() map[string]bool {
	known := map[string]bool{
		"listen-peer-urls": true, "listen-client-urls": true, "listen-client-http-urls": true,
		"initial-advertise-peer-urls": true, "advertise-client-urls": true, "listen-metrics-urls": true,
		"cors": true, "host-whitelist": true, "client-transport-security": true,
		"peer-transport-security": true, "feature-gates": true,
	}
	t := reflect.TypeFor[embed.Config]()
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			known[name] = true
		}
	}
	return known
}

// securityFields are those of etcd's client- and peer-transport-security.
var securityFields = map[string]bool{
	"cert-file": true, "key-file": true, "client-cert-file": true, "client-key-file": true,
	"client-cert-auth": true, "trusted-ca-file": true, "auto-tls": true,
	"allowed-cn": true, "allowed-hostname": true, "skip-client-san-verification": true,
}
