package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/etcdguard/etcdguard/internal/strictyaml"
)

// Policy is one file, compiled. It never changes and is safe for concurrent use.
type Policy struct {
	file     string
	digest   string
	observes bool
	callers  []callerRules
	rules    []rule
	marks    []mark // of the rules: small and close together, for decisions
	index    callerIndex

	anonymous, unmatched *Subject

	// Connections of one identity share a Subject: compiling 100,000 rules takes a
	// moment, and after a reload everyone asks at once.
	mu       sync.Mutex
	subjects map[string]*lazySubject
}

type lazySubject struct {
	once    sync.Once
	subject *Subject
}

// maxSubjects bounds the memory of what is kept. It takes as many different sets of
// matching entries to reach it; from then on new ones are compiled each time.
const maxSubjects = 4096

// callerRules is a caller entry of the file.
type callerRules struct {
	name   string
	line   int
	match  matcher
	limits Limits
	rules  []int32 // that name it, in the order of the file
}

// rule is a rule of the file.
type rule struct {
	name          string
	line          int
	callers       []int32
	role          string
	grants        []grant
	observes      bool
	audit         Level
	compactionAge time.Duration
}

// grant is actions on keys; keys mean nothing to actions without.
type grant struct {
	actions actionSet
	keys    []interval
}

// Load reads a policy file. The error names every mistake in it.
func Load(path string) (*Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the policy: %w; name a file that exists and that this user may read", err)
	}
	return Parse(path, data)
}

// Parse is Load for a file already read; file is its name in messages. The error
// is of type strictyaml.Problems.
func Parse(file string, data []byte) (*Policy, error) {
	p, problems := compile(file, data)
	if len(problems) > 0 {
		problems.Sort()
		return nil, problems
	}
	sum := sha256.Sum256(data)
	p.file, p.digest = file, hex.EncodeToString(sum[:])
	p.index = indexCallers(p.callers)
	for i := range p.rules {
		p.marks = append(p.marks, mark{p.rules[i].name, p.rules[i].audit})
	}
	p.anonymous = p.compileSubject("anonymous", nil)
	p.unmatched = p.compileSubject("unmatched", nil)
	p.subjects = map[string]*lazySubject{}
	return p, nil
}

// Problems returns what is wrong with a policy file, from the error of Load or
// Parse, or nil if the error says something else.
func Problems(err error) []strictyaml.Problem {
	var problems strictyaml.Problems
	errors.As(err, &problems)
	return problems
}

// Digest is the SHA-256 of the file's bytes in hex.
func (p *Policy) Digest() string { return p.digest }

// Enforces reports whether what no rule allows is denied: the file's mode is not
// observe.
func (p *Policy) Enforces() bool { return !p.observes }

// matching are the caller entries that match, in the order of the file.
func (p *Policy) matching(c Caller) []int {
	return slices.DeleteFunc(p.index.candidates(c), func(i int) bool { return p.callers[i].match.mismatch(c) != "" })
}

// Subject is everything that the policy says about one caller. It is meant to be
// asked for once per connection; callers that match alike get the same one.
func (p *Policy) Subject(c Caller) *Subject {
	entries := p.matching(c)
	if len(entries) == 0 {
		if c.Anonymous() {
			return p.anonymous
		}
		return p.unmatched
	}
	name := p.callers[entries[0]].name
	lazy := p.lazy(fmt.Sprint(entries))
	lazy.once.Do(func() { lazy.subject = p.compileSubject(name, entries) })
	return lazy.subject
}

func (p *Policy) lazy(key string) *lazySubject {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.subjects[key]
	if !ok {
		l = &lazySubject{}
		if len(p.subjects) < maxSubjects {
			p.subjects[key] = l
		}
	}
	return l
}
