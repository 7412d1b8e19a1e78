package rooms

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/etcdguard/etcdguard/"

// allowed are the rooms that each room may import. A room that is not here may
// not exist: whoever adds one says where it stands.
var allowed = map[string][]string{
	"cmd/etcdguard":        {"internal/cli"},
	"internal/cli":         {"audit/evidence", "audit/search", "local", "member", "pki", "policy", "etcdapi", "atrest", "control", "reseal", "seal", "keyring", "kms", "offline", "prove", "internal/privatefile"},
	"local":                {"pki", "kms", "control", "atrest", "prove"},
	"member":               {"guard", "audit", "certs", "codec", "policy", "etcdapi", "control", "reseal", "keyring", "kms", "internal/filewatch", "internal/strictyaml"},
	"control":              {"keyring", "reseal", "seal", "etcdapi"},
	"reseal":               {"keyring", "seal", "etcdapi"},
	"offline":              {"keyring", "kms", "seal", "etcdapi"},
	"prove":                {"atrest", "control", "keyring", "pki", "etcdapi", "internal/signed"},
	"atrest":               {"seal", "internal/signed"},
	"guard":                {"audit", "certs", "codec", "policy", "keyring", "seal", "etcdapi"},
	"keyring":              {"seal", "kms", "etcdapi", "internal/privatefile"},
	"audit/evidence":       {"internal/privatefile"},
	"kms":                  {"internal/privatefile"},
	"seal":                 {},
	"policy":               {"etcdapi", "internal/strictyaml"},
	"audit":                {"audit/journal", "audit/evidence", "etcdapi"},
	"audit/search":         {"audit/journal"},
	"audit/journal":        {},
	"certs":                {},
	"codec":                {},
	"pki":                  {},
	"etcdapi":              {},
	"internal/filewatch":   {},
	"internal/privatefile": {},
	"internal/signed":      {"internal/privatefile"},
	"internal/strictyaml":  {},
	"internal/rooms":       {},

	// Support of tests; nothing that is shipped imports it.
	"internal/difftest":         {"etcdapi", "internal/difftest/stock"},
	"internal/difftest/stock":   {},
	"internal/difftest/mutants": {},
	"kms/kmstest":               {"kms"},
}

// serverRooms are the rooms that may import etcd's server: the member, and the
// stock etcd that tests compare it with.
var serverRooms = []string{"member", "internal/difftest/stock"}

type pkg struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module) }

func list(t *testing.T) (all []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", "./...")
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 8 {
		t.Fatalf("only %d packages listed", len(all))
	}
	return all
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range list(t) {
		may, known := allowed[p.room()]
		if !known {
			t.Errorf("%s is a room that nobody placed: add it to the table, and to docs/design", p.room())
			continue
		}
		for _, imported := range p.Imports {
			room, ours := strings.CutPrefix(imported, module)
			if ours && !slices.Contains(may, room) {
				t.Errorf("%s imports %s: its arrows go to %v", p.room(), room, may)
			}
			if strings.HasPrefix(imported, "go.etcd.io/etcd/server/") && !slices.Contains(serverRooms, p.room()) {
				t.Errorf("%s imports etcd's server (%s): only %v may", p.room(), imported, serverRooms)
			}
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s needs cgo: it belongs into a binary of its own", p.room())
		}
	}
}

func TestTheTableIsOneWayItself(t *testing.T) {
	var visit func(room string, path []string)
	visit = func(room string, path []string) {
		if slices.Contains(path, room) {
			t.Fatalf("a circle: %v -> %s", path, room)
		}
		for _, next := range allowed[room] {
			if _, known := allowed[next]; !known {
				t.Errorf("%s may import %s, which is no room", room, next)
			}
			visit(next, append(slices.Clone(path), room))
		}
	}
	for room := range allowed {
		visit(room, nil)
	}
}

// TestNoRoomIsADrawer refuses the names under which everything ends.
func TestNoRoomIsADrawer(t *testing.T) {
	for _, p := range list(t) {
		parts := strings.Split(p.room(), "/")
		switch last := parts[len(parts)-1]; last {
		case "util", "utils", "common", "helpers", "types", "misc", "shared":
			t.Errorf("%s: %q says nothing about what is in it", p.room(), last)
		}
	}
}
