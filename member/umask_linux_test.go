package member

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestWhatADaemonWritesIsItsOwnersAlone(t *testing.T) {
	w := newWorld(t)
	p := w.spawn()
	p.await(ready)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	check(t, err)
	if !strings.Contains(string(status), "Umask:\t0077\n") {
		t.Error("etcd's raft snapshots would be readable for all")
	}
	p.signal(os.Interrupt)
	p.exit()
}
