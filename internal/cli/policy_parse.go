package cli

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/etcdguard/etcdguard/etcdapi"
	"github.com/etcdguard/etcdguard/policy"
)

func misread(flag, fix, format string, args ...any) error {
	return usageError{fmt.Errorf("reading "+flag+": "+format, args...), fix}
}

const callerFix = `--as client.crt, --as "cn=NAME,o=GROUP" or --as anonymous`

// parseCaller reads --as.
func parseCaller(as string, readFile func(string) ([]byte, error)) (policy.Caller, error) {
	if as == "anonymous" {
		return policy.Caller{}, nil
	}
	field, _, named := strings.Cut(as, "=")
	if !named || strings.ContainsAny(field, "/.") { // a path may have a = in it
		return callerOfFile(as, readFile)
	}
	var c policy.Caller
	for rest := as; rest != ""; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return c, misread("--as", callerFix, "%q has no =", rest)
		}
		value, next, err := cutValue(after, ",")
		if err != nil || value == "" {
			return c, misread("--as", callerFix, "%s has no value that can be read", name)
		}
		if err := setField(&c, strings.TrimSpace(name), value); err != nil {
			return c, err
		}
		rest = next
	}
	return c, nil
}

func setField(c *policy.Caller, name, value string) error {
	switch name {
	case "cn", "CN":
		if c.CN != "" {
			return misread("--as", "give one cn", "a certificate has one common name")
		}
		c.CN = value
	case "o", "O":
		c.O = append(c.O, value)
	case "dns", "DNS":
		c.DNS = append(c.DNS, value)
	case "uri", "URI":
		c.URI = append(c.URI, value)
	case "ip", "IP":
		ip, err := netip.ParseAddr(value)
		if err != nil {
			return misread("--as", "write an address such as 10.0.0.1", "%q is not an address", value)
		}
		c.IP = append(c.IP, ip.Unmap())
	case "publicKeySHA256":
		c.PublicKeySHA256 = strings.ToLower(value)
	default:
		return misread("--as", "use cn, o, dns, ip, uri, publicKeySHA256", "%q is not a field of a caller", name)
	}
	return nil
}

// cutValue takes a value off the front of s: in double quotes, or up to the
// separator.
func cutValue(s, separator string) (value, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, separator)
		return value, rest, nil
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", err
	}
	rest = s[len(quoted):]
	if after, ok := strings.CutPrefix(rest, separator); ok || rest == "" {
		value, err = strconv.Unquote(quoted)
		return value, after, err
	}
	return "", "", fmt.Errorf("something follows the quotes: %s", rest)
}

func callerOfFile(path string, readFile func(string) ([]byte, error)) (policy.Caller, error) {
	data, err := readFile(path)
	if err != nil {
		return policy.Caller{}, usageError{fmt.Errorf("reading --as: %w", err), callerFix}
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return policy.Caller{}, misread("--as", callerFix, "%s holds no certificate in PEM", path)
		}
		if block.Type != "CERTIFICATE" {
			continue // a key in the same file is none of our business
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return policy.Caller{}, usageError{fmt.Errorf("reading --as %s: %w", path, err), callerFix}
		}
		return policy.CallerOf(leaf, ""), nil
	}
}

const accessFix = `--do "KV.Range prefix:/registry/", --do "KV.Put key:foo" or --do Maintenance.Snapshot; etcdguard policy explain --help has all forms`

// parseAccess reads --do. Ranges are made the way the guard makes them: normalised,
// and confined to the keys that a client can have.
func parseAccess(do string) (etcdapi.Action, etcdapi.Range, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(do), " ")
	action, err := actionNamed(name)
	if err != nil {
		return 0, etcdapi.Range{}, err
	}
	given := map[string]string{}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		if after, ok := strings.CutPrefix(rest+" ", "all "); ok {
			given["all"], rest = "", after
			continue
		}
		form, after, ok := strings.Cut(rest, ":")
		value, next, err := cutValue(after, " ")
		if _, twice := given[form]; !ok || err != nil || value == "" || twice {
			return 0, etcdapi.Range{}, misread("--do", accessFix, "%q is not a key range", rest)
		}
		given[form], rest = value, next
	}
	if !action.Keyed() {
		if len(given) > 0 {
			return 0, etcdapi.Range{}, misread("--do", "--do "+name, "%s is not judged by keys", name)
		}
		return action, etcdapi.Range{}, nil
	}
	keys, err := keyRange(name, given)
	return action, keys, err
}

func keyRange(action string, given map[string]string) (etcdapi.Range, error) {
	request := &pb.RangeRequest{}
	forms := len(given)
	if to, ok := given["to"]; ok {
		if _, ok := given["from"]; !ok {
			return etcdapi.Range{}, misread("--do", accessFix, "to:%s has no from:", to)
		}
		forms--
	}
	if forms != 1 {
		return etcdapi.Range{}, misread("--do", accessFix, "%s wants one range of keys, and got %d", action, forms)
	}
	for form, value := range given {
		switch form {
		case "key":
			request.Key = []byte(value)
		case "prefix":
			request.Key, request.RangeEnd = []byte(value), etcdapi.PrefixEnd([]byte(value))
			if request.RangeEnd == nil {
				request.RangeEnd = []byte{0} // no end: etcd's spelling
			}
		case "from":
			request.Key, request.RangeEnd = []byte(value), []byte{0}
			if to, ok := given["to"]; ok {
				request.RangeEnd = []byte(to)
			}
		case "to": // with from
		case "all":
			request.Key, request.RangeEnd = []byte{0}, []byte{0}
		default:
			return etcdapi.Range{}, misread("--do", accessFix, "%q is not a form of range", form)
		}
	}
	if err := etcdapi.Confine(request); err != nil {
		// What is reserved stays as it was asked for: the policy says that no rule
		// allows it.
		return etcdapi.Key(request.Key), nil
	}
	return etcdapi.NewRange(request.Key, request.RangeEnd), nil
}

func actionNamed(name string) (etcdapi.Action, error) {
	for _, a := range etcdapi.Actions() {
		if a.String() == name {
			return a, nil
		}
	}
	if several := etcdapi.MatchActions(name); len(several) > 0 {
		var names []string
		for _, a := range several {
			names = append(names, a.String())
		}
		return 0, misread("--do", "ask for one of: "+strings.Join(names, ", "), "%q stands for several actions", name)
	}
	return 0, misread("--do", policy.SuggestAction(name), "%q is not an action", name)
}
