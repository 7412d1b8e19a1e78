package prove

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Result is what came of trying one claim on one member.
type Result string

const (
	Held     Result = "held"
	Failed   Result = "failed"
	NotTried Result = "not tried" // never counts as held
)

// Finding is one claim on one member; the JSON names are stable.
type Finding struct {
	Claim  string `json:"claim"`
	How    string `json:"how"` // what was tried, and the control that worked
	Node   string `json:"node"`
	Result Result `json:"result"`
	Detail string `json:"detail,omitempty"` // why it failed or was not tried; what was seen
}

// claim is one claim and how it is tried. try returns what was seen, and nil if the
// claim held: the attempt was refused, and the control beside it was not.
type claim struct {
	name, how string
	try       func(*attempt, context.Context) (seen string, err error)
}

// attempt is what a claim has to work with on one member.
type attempt struct {
	Node
	Callers
}

// askFor bounds one answer of a member.
const askFor = 3 * time.Second

// run tries each claim on each node: claims one after another, nodes side by side.
func run(ctx context.Context, claims []claim, nodes []Node, callers Callers) []Finding {
	out := make([]Finding, len(claims)*len(nodes))
	for i, c := range claims {
		var wait sync.WaitGroup
		for j, n := range nodes {
			wait.Go(func() { out[i*len(nodes)+j] = c.on(ctx, &attempt{n, callers}) })
		}
		wait.Wait()
	}
	return out
}

func (c claim) on(ctx context.Context, a *attempt) Finding {
	seen, err := c.try(a, ctx)
	f := Finding{Claim: c.name, How: c.how, Node: a.Name, Result: Held, Detail: seen}
	if err != nil {
		f.Result, f.Detail = Failed, strings.ReplaceAll(err.Error(), "\n", "; ")
		if onlyUntried(err) {
			f.Result, f.Detail = NotTried, strings.TrimPrefix(f.Detail, "not tried: ")
		}
	}
	return f
}

// untriedError is why a claim says nothing about a member.
type untriedError struct{ error }

func (e untriedError) Error() string { return "not tried: " + e.error.Error() }
func (e untriedError) Unwrap() error { return e.error }

func untried(format string, args ...any) error { return untriedError{fmt.Errorf(format, args...)} }

// onlyUntried reports whether nothing in err says that the claim is wrong.
func onlyUntried(err error) bool {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			if !onlyUntried(e) {
				return false
			}
		}
		return true
	}
	var u untriedError
	return errors.As(err, &u)
}

// simply is a claim whose attempt has nothing to show but its success.
func simply(try func(*attempt, context.Context) error) func(*attempt, context.Context) (string, error) {
	return func(a *attempt, ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*askFor)
		defer cancel()
		return "", try(a, ctx)
	}
}
