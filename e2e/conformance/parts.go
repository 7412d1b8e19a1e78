package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The two packages of etcd's suites. common runs each of its tests with and without
// TLS; e2e knows the corners.
const (
	common = "common"
	e2e    = "e2e"
)

// Two packages of Kubernetes' integration tests.
const (
	kubeSecrets        = "secrets"
	kubeTransformation = "transformation"
)

// part is the tests of one package that exercise one thing. Patterns are of whole
// names.
type part struct {
	name     string
	pkg      string
	patterns []string
}

var parts = []part{
	{"common", common, []string{`.*`}},
	{"kv", e2e, []string{
		`TestCtlV3(Put|Get|Del)(Timeout|ClientTLSFlagByEnv|Ignore.*|Format|Rev|MinMaxCreateModRev|KeysOnly|CountOnly|RevokedCRL|RevokedCRLGRPCOnly)`,
		`TestCtlV3(Serializable|Linearizable)Read`, `TestCtlV3MakeMirror.*`, `TestCurlV3KV(BasicOperation|Compact)`,
	}},
	{"txn", e2e, []string{`TestTxnRangeConsistency`, `TestCurlV3KVTxn`, `TestCtlV3(Elect|Lock|LockWithCmd)`, `TestCurlV3(Campaign|Proclaim|Resign|Election|Lock).*`}},
	{"watch", e2e, []string{`TestCtlV3Watch.*`, `TestWatchWithLowPermissionUser`, `TestDeleteEventDrop.*`, `TestStartWatcherFromCompactedRevision`, `TestResumeCompactionOnTombstone`, `TestCurl(V3)?Watch.*`}},
	{"lease", e2e, []string{`TestCtlV3Lease.*`, `TestLeaseRevoke.*`, `TestCurlV3Lease.*`}},
	{"auth", e2e, []string{`TestAuth.*`, `TestCtlV3Auth.*`, `TestCtlV3GetAuthStatus`, `TestCtlV3RoleAddTimeout`, `TestCurlV3Auth.*`, `TestEtcdPeer(CN|MultiCN|Name)Auth`}},
	{"snapshot", e2e, []string{
		`TestCtlV3Snapshot.*`, `TestIssue6361`, `TestRestoreCompactionRevBump`, `TestBreakConsistentIndexNewerThanSnapshot`,
		`TestCtlV3DefragOffline`, `TestRecoverSnapshotBackend`, `TestSnapDB.*`, `TestEtctlutlMigrate`, `TestCurlV3Maintenance.*`,
		`TestDefragNoSpace`, `TestEtcdHealthyWithTinySnapshotCatchupEntries`,
	}},
	{"member", e2e, []string{
		`TestMember.*`, `TestCtlV3Member.*`, `TestCtlV3ConsistentMemberList`, `TestRemoveNonExistingMember`, `TestCtlV3MoveLeader.*`,
		`TestRuntimeReconfig.*`, `TestForceNewCluster.*`, `TestReproduce.*`, `TestIssue20271`, `TestCurlV3ClusterOperations`, `TestFailoverOnDefrag`,
	}},
	// What etcdguard does itself instead of etcd: listening, TLS, HTTP, logs, stopping.
	{"serving", e2e, []string{
		`TestConnectionMultiplexing`, `TestHTTP.*Handler`, `TestV3.*Metric.*`, `TestNoMetricsMissing`, `TestGracefulShutdown`,
		`TestCurlV3CipherSuites.*`, `TestCurlV3_?MaxStreams.*`, `TestEtcd(MultiPeer|UnixPeers|ListenMetrics.*|TLSVersion|DeprecatedFlags|AdvertiseClientUnix)`,
		`TestServerJsonLogging`, `TestConnectionRejectMessage`, `TestNoErrorLogsDuringNormalOperations`, `TestCtlV3Version`, `TestClusterVersion`,
		`TestCtlV3DialWithHTTPScheme`, `TestBootstrapDefragFlag`, `TestSnapshotCatchupEntriesFlag`, `TestV2DeprecationEnforceDefaultValue`, `TestWarningApplyDuration`,
	}},
}

// kubernetes is the tests of Kubernetes that are about what is stored: all of them,
// none is left out.
var kubernetes = []part{
	{"kube-secrets", kubeSecrets, []string{`.*`}},
	{"kube-transformation", kubeTransformation, []string{`.*`}},
}

// timing asserts milliseconds under load: it judges the machine as much as the
// program. It is a suite of its own, for a machine that does nothing else, and no
// other suite has it.
var timing = part{"timing", e2e, []string{`TestWatchDelay.*`}}

// leftOut are the tests of e2e that no part has, and why.
var leftOut = []struct{ pattern, why string }{
	{`TestDowngrade.*|TestMixVersions.*|TestReleaseUpgrade.*|TestClusterUpgrade.*|TestV2Deprecation(Snapshot.*|NotYet)`,
		"they mix members of different versions and need the binary of an older etcd"},
	{`TestGrpc[Pp]roxy.*|TestGateway`, "etcdguard has no grpc-proxy and no gateway subcommand"},
	{`Test(TLS)?ClusterOf\dUsingV3Discovery.*`, "discovery through another etcd: ten members on two cores, nothing that the guard touches"},
	{`TestEtcdCorruptHash|TestInPlaceRecovery|TestPeriodicCheckDetectsCorruption|TestCompactHashCheck.*`,
		"they damage a database between members, where the guard is not"},
	{`Test(Ctl|Utl)V3CompletionBash`, "they test etcdctl's and etcdutl's shell completion"},
	{`TestEtcdPeerLocalAddr`, "it needs a network besides the loopback one, and listens on it"},
	{`TestEtcdExampleConfig`, "the sample file that it starts from is not in the published module"},
}

// ci is what fits in a few minutes on two cores: every service and both halves,
// with and without TLS.
var ci = []part{
	{"common", common, []string{
		`TestKV(Put|Get|GetStream|Delete)`, `TestTxn.*`, `TestWatch`, `TestLeaseGrant(TimeToLive|AndList|KeepAliveOnce|Revoke)`, `TestMemberList`,
		`TestCompact`, `TestStatus`, `TestEndpoint.*`, `TestAlarm`, `TestDefragOnline`, `TestUser(Add_Simple|ChangePassword)`, `TestRoleGrantRevokePermission`,
		`TestAuth(Enable|Disable|RoleUpdate|Txn|PrefixPerm|LeaseTimeToLive|TestCacheReload|Compact)`,
	}},
	{"e2e", e2e, []string{
		`TestCtlV3(PutIgnore.*|GetFormat|GetRev|GetKeysOnly|GetRevokedCRL)`, `TestCtlV3(Serializable|Linearizable)Read`,
		`TestCtlV3Watch`, `TestStartWatcherFromCompactedRevision`, `TestWatchWithLowPermissionUser`,
		`TestCtlV3LeaseKeepAlive(NoTLS|ClientTLS)`, `TestAuth_CVE_2021_28235`, `TestCtlV3AuthCertCN(AndUsername)?`, `TestCtlV3AuthAndWatch`, `TestCtlV3AuthSnapshot`,
		`TestCtlV3Snapshot`, `TestIssue6361`, `TestRestoreCompactionRevBump`, `TestCtlV3Member(List|Add|AddAsLearner)`, `TestMemberReplace`, `TestGracefulShutdown`, `TestHTTPLivezReadyzHandler`, `TestConnectionMultiplexing`,
		`TestV3Metrics.*`, `TestEtcdTLSVersion`, `TestCurlV3(KVBasicOperation|KVTxn|LeaseGrantNoTLS|Watch|LockOperations)`,
	}},
}

// suites are what can be asked for by name, besides each part.
func suites() map[string][]part {
	all := map[string][]part{"all": parts, "ci": ci, e2e: parts[1:]}
	all["kubernetes"] = kubernetes
	for _, p := range append(append(slices.Clone(parts), kubernetes...), timing) {
		all[p.name] = []part{p}
	}
	return all
}

func suiteNames() string {
	var names []string
	for name := range suites() {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func wholly(pattern string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) }

// of are the part's tests among those that its package has, in their order. A
// pattern that matches none is a mistake.
func (p part) of(tests []string) ([]string, error) {
	var found []string
	matched := map[string]bool{}
	for _, test := range tests {
		for _, pattern := range p.patterns {
			if wholly(pattern).MatchString(test) {
				matched[pattern] = true
				if !slices.Contains(found, test) {
					found = append(found, test)
				}
			}
		}
	}
	for _, pattern := range p.patterns {
		if !matched[pattern] {
			return nil, fmt.Errorf("part %s: no test of package %s is called %s; correct parts.go", p.name, p.pkg, pattern)
		}
	}
	return found, nil
}

// accountForAll checks that each test of e2e is in one part or left out, not both.
func accountForAll(tests []string) error {
	for _, test := range tests {
		var in []string
		for _, p := range append(slices.Clone(parts), timing) {
			if p.pkg == e2e && slices.ContainsFunc(p.patterns, func(s string) bool { return wholly(s).MatchString(test) }) {
				in = append(in, p.name)
			}
		}
		for _, l := range leftOut {
			if wholly(l.pattern).MatchString(test) {
				in = append(in, "left out")
			}
		}
		if len(in) != 1 {
			return fmt.Errorf("test %s is in %d places %v, not in one; correct parts or leftOut in parts.go", test, len(in), in)
		}
	}
	return nil
}
