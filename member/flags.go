package member

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/pkg/v3/flags"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.uber.org/zap"
)

// Options is a member's configuration as its operator gave it.
type Options struct {
	// Etcd is etcd's part, parsed, defaulted and validated by etcd's own rules.
	Etcd *embed.Config
	// GuardFile is where the guard's part is.
	GuardFile string
}

// errDone means that the arguments asked for something that is done: help, version.
var errDone = errors.New("done")

// ignoredFlags are accepted and do nothing, as in etcd (etcdmain/config.go), so
// that a unit file which still bears them starts.
var ignoredFlags = []string{
	"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force",
	"max-result-buffer", "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout",
	"retry-interval", "snapshot", "v", "vv", "test.coverprofile", "test.outputdir",
}

// deprecatedFlags still work, or do nothing, and etcd says of them until when.
var deprecatedFlags = map[string]string{
	"max-snapshots":  "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
	"v2-deprecation": "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input.",
}

// ParseOptions reads the command line as etcd 3.7 does: with --config-file, or
// ETCD_CONFIG_FILE, every other flag of etcd and the environment are ignored;
// otherwise an ETCD_ variable stands for a flag that is not given, and is refused
// beside one that is. --guard-config (ETCD_GUARD_CONFIG) is etcdguard's own and is
// heeded either way; there, the flag wins.
func ParseOptions(args []string, stdout, stderr io.Writer) (*Options, error) {
	p := newParser(stderr)
	switch err := p.set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		p.help(stdout)
		return nil, errDone
	case err != nil:
		return nil, fmt.Errorf("%w; see etcdguard member --help", err)
	case p.set.NArg() > 0:
		return nil, fmt.Errorf("%q is not a valid flag; see etcdguard member --help", p.set.Arg(0))
	}
	if p.version {
		printVersion(stdout)
		return nil, errDone
	}
	p.fromEnvironment("config-file", &p.configFile)
	p.fromEnvironment("guard-config", &p.guardFile)

	var err error
	if p.configFile != "" {
		err = p.parseFile()
	} else {
		err = p.parseFlags()
	}
	if err != nil {
		return nil, err
	}
	p.etcd.V2Deprecation = config.V2DeprDefault
	if p.etcd.WarningUnaryRequestDuration == 0 {
		p.etcd.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration
	}
	p.defaults()
	return &Options{Etcd: p.etcd, GuardFile: p.guardFile}, nil
}

type parser struct {
	etcd           *embed.Config
	set            *flag.FlagSet
	clusterState   *flags.SelectiveStringValue
	fallback       *flags.SelectiveStringValue
	defaultCluster string
	configFile     string
	guardFile      string
	version        bool
}

func newParser(stderr io.Writer) *parser {
	p := &parser{
		etcd:         embed.NewConfig(),
		set:          flag.NewFlagSet("etcdguard member", flag.ContinueOnError),
		clusterState: flags.NewSelectiveStringValue(embed.ClusterStateFlagNew, embed.ClusterStateFlagExisting),
		fallback:     flags.NewSelectiveStringValue("exit", "proxy"),
	}
	p.defaultCluster = p.etcd.InitialCluster
	p.set.SetOutput(stderr)
	p.set.Usage = func() {}
	p.etcd.AddFlags(p.set)
	p.set.StringVar(&p.configFile, "config-file", "", "Path to etcd's configuration file. With it, etcd's other flags and the ETCD_ environment are ignored.")
	p.set.StringVar(&p.guardFile, "guard-config", "", "Path to the guard's configuration file. Required; heeded with and without --config-file.")
	p.set.Var(p.fallback, "discovery-fallback", "Only \"exit\" is supported.")
	p.set.Var(p.clusterState, "initial-cluster-state", "Initial cluster state: \"new\", or \"existing\" to join.")
	p.set.Var(flags.NewSelectiveStringsValue(
		string(config.V2Depr1WriteOnly), string(config.V2Depr1WriteOnlySkipCheck),
		string(config.V2Depr1WriteOnlyDrop), string(config.V2Depr2Gone)),
		"v2-deprecation", "Deprecated in etcd 3.6; ignored.")
	p.set.BoolVar(&p.version, "version", false, "Print the version and exit.")
	for _, name := range ignoredFlags {
		p.set.Var(&flags.IgnoredFlag{Name: name}, name, "")
	}
	return p
}

// fromEnvironment reads the two options that say where the others are.
func (p *parser) fromEnvironment(name string, into *string) {
	if *into == "" {
		*into = os.Getenv(flags.FlagToEnv("ETCD", name))
	}
}

func (p *parser) parseFile() error {
	if err := checkConfigFile(p.configFile); err != nil {
		return err
	}
	fromFile, err := embed.ConfigFromFile(p.configFile)
	if err != nil {
		return fmt.Errorf("reading etcd's configuration %s: %w", p.configFile, err)
	}
	p.etcd = fromFile
	return nil
}

func (p *parser) parseFlags() error {
	if err := p.takeEnvironment(); err != nil {
		return err
	}
	rafthttp.ConnReadTimeout = max(rafthttp.ConnReadTimeout, rafthttp.DefaultConnReadTimeout)
	rafthttp.ConnWriteTimeout = max(rafthttp.ConnWriteTimeout, rafthttp.DefaultConnWriteTimeout)

	c, set := p.etcd, p.set
	c.ListenPeerUrls = flags.UniqueURLsFromFlag(set, "listen-peer-urls")
	c.AdvertisePeerUrls = flags.UniqueURLsFromFlag(set, "initial-advertise-peer-urls")
	c.ListenClientUrls = flags.UniqueURLsFromFlag(set, "listen-client-urls")
	c.ListenClientHttpUrls = flags.UniqueURLsFromFlag(set, "listen-client-http-urls")
	c.AdvertiseClientUrls = flags.UniqueURLsFromFlag(set, "advertise-client-urls")
	c.ListenMetricsUrls = flags.UniqueURLsFromFlag(set, "listen-metrics-urls")
	c.DiscoveryCfg.Endpoints = flags.UniqueStringsFromFlag(set, "discovery-endpoints")
	c.CORS = flags.UniqueURLsMapFromFlag(set, "cors")
	c.HostWhitelist = flags.UniqueStringsMapFromFlag(set, "host-whitelist")
	c.ClientTLSInfo.AllowedHostnames = flags.StringsFromFlag(set, "client-cert-allowed-hostname")
	c.PeerTLSInfo.AllowedCNs = flags.StringsFromFlag(set, "peer-cert-allowed-cn")
	c.PeerTLSInfo.AllowedHostnames = flags.StringsFromFlag(set, "peer-cert-allowed-hostname")
	c.CipherSuites = flags.StringsFromFlag(set, "cipher-suites")
	c.MaxConcurrentStreams = flags.Uint32FromFlag(set, "max-concurrent-streams")
	c.LogOutputs = flags.UniqueStringsFromFlag(set, "log-outputs")
	c.ClusterState = p.clusterState.String()

	if flags.IsSet(set, "listen-client-urls") && !flags.IsSet(set, "advertise-client-urls") {
		c.AdvertiseClientUrls = nil // etcd wants both said or none
	}
	discovered := c.DNSCluster != "" || c.DNSClusterServiceName != "" || len(c.DiscoveryCfg.Endpoints) > 0
	if discovered && !flags.IsSet(set, "initial-cluster") {
		c.InitialCluster = ""
	}
	set.Visit(func(f *flag.Flag) { c.FlagsExplicitlySet[f.Name] = true })
	if p.fallback.String() == "proxy" {
		return errors.New("the v2 proxy is gone; remove --discovery-fallback=proxy")
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("etcd's configuration: %w", err)
	}
	for _, name := range p.unknownVariables() {
		c.GetLogger().Warn("unrecognized environment variable", zap.String("environment-variable", name))
	}
	return nil
}

// takeEnvironment sets the flags that the command line left open from their
// variables. Like etcd it refuses one thing said twice. It does not let etcd's
// package look for that: it would log what it does not recognise with its value,
// and images keep passwords in variables such as ETCD_ROOT_PASSWORD.
func (p *parser) takeEnvironment() error {
	os.Unsetenv("ETCD_VERSION") // would be taken for --version
	var twice []string
	p.set.Visit(func(f *flag.Flag) {
		variable := flags.FlagToEnv("ETCD", f.Name)
		if _, there := os.LookupEnv(variable); there && f.Name != "guard-config" {
			twice = append(twice, variable+" and --"+f.Name)
		}
	})
	if len(twice) > 0 {
		return fmt.Errorf("given both in the environment and on the command line: %s; remove one of each", strings.Join(twice, ", "))
	}
	if err := flags.SetFlagsFromEnv(nil, "ETCD", p.set); err != nil {
		return fmt.Errorf("reading the ETCD_ environment: %w", err)
	}
	return nil
}

// unknownVariables are the names in the environment that look like etcd's and are
// not; a misspelt one does nothing.
func (p *parser) unknownVariables() []string {
	known := map[string]bool{}
	p.set.VisitAll(func(f *flag.Flag) { known[flags.FlagToEnv("ETCD", f.Name)] = true })
	var unknown []string
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "ETCD_") && !known[name] {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// defaults fills in what etcd's own main does after parsing.
func (p *parser) defaults() {
	// The error only says that no default host was found, which is usual.
	_, _ = p.etcd.UpdateDefaultClusterFromName(p.defaultCluster)
	if p.etcd.Dir == "" {
		p.etcd.Dir = p.etcd.Name + ".etcd"
	}
}

// printVersion is etcd's own output, since tools parse it, and a line more.
func printVersion(w io.Writer) {
	fmt.Fprintf(w, "etcd Version: %s\n", version.Version)
	fmt.Fprintf(w, "Git SHA: %s\n", version.GitSHA)
	fmt.Fprintf(w, "Go Version: %s\n", runtime.Version())
	fmt.Fprintf(w, "Go OS/Arch: %s/%s\n", runtime.GOOS, runtime.GOARCH)
	fmt.Fprintf(w, "Guarded by: etcdguard\n")
}

func (p *parser) help(w io.Writer) {
	fmt.Fprint(w, helpText)
	ignored := map[string]bool{}
	for _, name := range ignoredFlags {
		ignored[name] = true
	}
	p.set.VisitAll(func(f *flag.Flag) {
		if ignored[f.Name] {
			return
		}
		fmt.Fprintf(w, "  --%s '%s'\n        %s (env %s)\n",
			f.Name, f.DefValue, strings.TrimSpace(f.Usage), flags.FlagToEnv("ETCD", f.Name))
	})
}

const helpText = `etcdguard member runs one etcd 3.7 member with the guard inside it.

It takes the flags, the ETCD_ environment and the --config-file of etcd, with the
same precedence, so that it stands where an etcd binary stood:

  etcdguard member --config-file etcd.yaml --guard-config guard.yaml

Called under the name "etcd" it is a member at once. It needs one thing more than
etcd, the guard's configuration:

  apiVersion: etcdguard.dev/v1
  kind: Guard
  policy: policy.yaml        # who may do what; see "etcdguard policy check"

The client port then serves gRPC and, over HTTP/1.1, /health /livez /readyz
/version /metrics, all judged by the policy. Not served: the JSON gateway, the
Lock and Election services, /debug. SIGHUP, or a change of the files, reloads the
policy and the certificates; what is bad is reported and the old stays in force.
SIGTERM ends streams with a reason and stops; a second one stops at once.

"etcdguard up" makes such files for a cluster on this machine, to look at.

Flags:
`
