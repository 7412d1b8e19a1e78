package prove

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeSystem makes /proc and /sys of files; a name that ends with / is a folder.
func fakeSystem(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			path, content = filepath.Join(path, ".keep"), ""
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "/") {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := system
	system.proc, system.sys = filepath.Join(dir, "proc"), filepath.Join(dir, "sys")
	t.Cleanup(func() { system = old })
}

func TestDMCrypt(t *testing.T) {
	fakeSystem(t, map[string]string{
		"sys/dev/block/8:1/dev":               "8:1\n",
		"sys/dev/block/253:0/dm/uuid":         "CRYPT-LUKS2-0123-luks\n",
		"sys/dev/block/253:0/slaves/sda1/dev": "8:1\n",
		"sys/dev/block/253:1/dm/uuid":         "LVM-abc\n", // LVM on LUKS
		"sys/dev/block/253:1/slaves/dm-0/dev": "253:0\n",
		"sys/dev/block/253:2/dm/uuid":         "LVM-def\n", // LVM on a bare disk
		"sys/dev/block/253:2/slaves/sda1/dev": "8:1\n",
		"sys/dev/block/253:3/dm/uuid":         "LVM-ghi\n", // half of it on LUKS
		"sys/dev/block/253:3/slaves/dm-0/dev": "253:0\n",
		"sys/dev/block/253:3/slaves/sda1/dev": "8:1\n",
		"sys/dev/block/253:4/slaves/dm-4/dev": "253:4\n", // a circle
		"sys/dev/block/8:0/slaves/":           "",
	})
	for device, want := range map[string]bool{"8:1": false, "253:0": true, "253:1": true, "253:2": false, "253:3": false, "8:0": false} {
		if got, err := dmCrypt(device, 0); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", device, got, err, want)
		}
	}
	for _, device := range []string{"253:4", "9:9"} {
		if got, err := dmCrypt(device, 0); err == nil || got {
			t.Errorf("%s: %v %v", device, got, err)
		}
	}
}

func TestSwapAndCoreDumps(t *testing.T) {
	const head = "Filename Type Size Used Priority\n"
	limits := func(core string) string {
		return "Limit                     Soft Limit           Hard Limit           Units\nMax core file size        " + core + "                    unlimited            bytes\n"
	}
	fakeSystem(t, map[string]string{
		"proc/swaps":     head + "/dev/zram0 partition 1 0 -2\n",
		"proc/11/limits": limits("0"), "proc/12/limits": limits("unlimited"), "proc/13/limits": "nothing",
	})
	if s := swap(); s.State != Good {
		t.Errorf("%+v", s)
	}
	for pid, want := range map[int]State{0: Unknown, 11: Good, 12: Bad, 13: Unknown, 14: Unknown} {
		if s := coreDumps(pid); s.State != want || (s.State == Good) != (s.Advice == "") {
			t.Errorf("process %d: %+v, want %s", pid, s, want)
		}
	}
	if err := os.WriteFile(filepath.Join(system.proc, "swaps"), []byte(head+"/no/such/swapfile file 1 0 -2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := swap(); s.State != Bad || !strings.Contains(s.Seen, "/no/such/swapfile") {
		t.Errorf("%+v", s)
	}
}

func TestSurroundingsOfThisMachine(t *testing.T) {
	for _, s := range Surroundings(t.TempDir(), os.Getpid()) {
		if s.Seen == "" || s.State == "" || s.State != Good && s.Advice == "" {
			t.Errorf("%+v", s)
		}
	}
	if s := encryptedBelow("x", filepath.Join(t.TempDir(), "gone"), "y"); s.State != Unknown {
		t.Errorf("a folder that is not there: %+v", s)
	}
}
