package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/etcdguard/etcdguard/audit/search"
	"github.com/etcdguard/etcdguard/local"
)

// auditLogs are the flags that say which audit logs to read, and how.
type auditLogs struct {
	dir     string
	members []string
	noIndex bool
}

// choose adds the flags that say which.
func (a *auditLogs) choose(cmd *cobra.Command) {
	dirFlag(cmd, &a.dir)
	cmd.Flags().StringSliceVar(&a.members, "member", nil, "only these members of the cluster, such as m1 (default: all)")
}

func (a *auditLogs) flags(cmd *cobra.Command) {
	a.choose(cmd)
	cmd.Flags().BoolVar(&a.noIndex, "no-index", false, "read every segment, and neither use nor keep an index")
}

// open finds the logs: those in the directories, or the cluster's. done clears what was
// said of the progress.
func (a *auditLogs) open(dirs []string) (record *search.Record, done func(), err error) {
	logs, err := a.find(dirs)
	if err != nil {
		return nil, nil, err
	}
	bar := &lateMeter{begin: time.Now()}
	c := search.Config{Logs: logs, NoIndex: a.noIndex, Progress: bar.update}
	if cache, err := os.UserCacheDir(); err == nil {
		c.Cache = filepath.Join(cache, "etcdguard", "audit")
	}
	return search.New(c), bar.done, nil
}

func (a *auditLogs) find(dirs []string) ([]search.Log, error) {
	var all []search.Log
	if len(dirs) > 0 {
		if a.dir != "" || len(a.members) > 0 {
			return nil, usageError{errors.New("reading the command line: --dir and --member mean a cluster, and there are directories of logs"), "give the one or the other"}
		}
		for _, dir := range dirs {
			all = append(all, search.Log{Name: dir, Dir: dir})
		}
	} else {
		cluster, err := local.Open(a.dir)
		if err != nil {
			return nil, err
		}
		logs, err := cluster.AuditLogs(a.members...)
		if err != nil {
			return nil, err
		}
		for _, l := range logs {
			all = append(all, search.Log{Name: l.Member, Dir: l.Dir})
		}
	}
	for _, l := range all {
		segments, err := filepath.Glob(filepath.Join(l.Dir, "*.jsonl"))
		if _, statErr := os.ReadDir(l.Dir); err != nil || statErr != nil {
			return nil, unreadable(errors.Join(err, statErr))
		}
		if len(segments) == 0 {
			return nil, hinted{fmt.Errorf("reading %s: no audit log is there", l.Dir), wantedDir}
		}
	}
	if len(all) == 1 {
		all[0].Name = ""
	}
	return all, nil
}

const wantedDir = "give the directory with the segments, such as /var/lib/etcd/audit"

// unreadable adds the way out to an error of reading a log.
func unreadable(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return hinted{err, "an audit log is its member's alone: run this as the user that etcd runs as, or as root"}
	case errors.Is(err, fs.ErrNotExist):
		return hinted{err, wantedDir}
	}
	return err
}

// lateMeter is a meter that keeps quiet about what takes less than a second.
type lateMeter struct {
	begin time.Time
	once  sync.Once
	bar   *meter
}

func (l *lateMeter) update(done, total int64) {
	if time.Since(l.begin) < time.Second {
		return
	}
	l.once.Do(func() { l.bar = newMeter(os.Stderr); l.bar.begin = l.begin })
	l.bar.update(done, total)
}

func (l *lateMeter) done() {
	l.once.Do(func() {})
	if l.bar != nil {
		l.bar.done()
	}
}
