package policy

import (
	"net/netip"
	"time"
)

// The file as it is written; docs/policy.md describes it.
type (
	file struct {
		APIVersion string        `yaml:"apiVersion,required"`
		Kind       string        `yaml:"kind,required"`
		Mode       string        `yaml:"mode"`
		Callers    []callerEntry `yaml:"callers,required"`
		Rules      []ruleEntry   `yaml:"rules,required"`
	}
	callerEntry struct {
		Name   string      `yaml:"name,required"`
		Match  matchEntry  `yaml:"match,required"`
		Limits limitsEntry `yaml:"limits"`
	}
	// matchEntry holds for a caller that has, for each field listed, one of the values.
	matchEntry struct {
		CN              []string     `yaml:"cn"`
		O               []string     `yaml:"o"`
		DNS             []string     `yaml:"dns"`
		IP              []netip.Addr `yaml:"ip"`
		URI             []string     `yaml:"uri"`
		PublicKeySHA256 []string     `yaml:"publicKeySHA256"`
		Anonymous       bool         `yaml:"anonymous"`
		AnyCertificate  bool         `yaml:"anyCertificate"`
	}
	// limitsEntry tells "not limited" (absent) from a mistaken 0.
	limitsEntry struct {
		KeysPerRange *int64 `yaml:"keysPerRange"`
		ValueBytes   *int64 `yaml:"valueBytes"`
		Watchers     *int   `yaml:"watchers"`
		InFlight     *int   `yaml:"inFlight"`
	}
	ruleEntry struct {
		Name          string         `yaml:"name,required"`
		Callers       []string       `yaml:"callers,required"`
		Role          string         `yaml:"role"`
		Actions       []string       `yaml:"actions"`
		Keys          []keyEntry     `yaml:"keys"`
		CompactionAge *time.Duration `yaml:"compactionAge"`
		Mode          string         `yaml:"mode"`
		Audit         string         `yaml:"audit"`
	}
	// keyEntry is one of: key; prefix; from; from and to; all.
	keyEntry struct {
		Key    []byte `yaml:"key"`
		Prefix []byte `yaml:"prefix"`
		From   []byte `yaml:"from"`
		To     []byte `yaml:"to"`
		All    bool   `yaml:"all"`
	}
)

const (
	apiVersion = "etcdguard.dev/v1"
	kind       = "Policy"
)

// The modes of a file and of a rule.
const (
	modeEnforce = "enforce"
	modeObserve = "observe"
)
