package contender

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is USER_HZ: what /proc counts processor time in, 1/100 s on every
// Linux that Go runs on (proc(5), sysconf(_SC_CLK_TCK)).
const clockTick = 10 * time.Millisecond

// CPU is the processor time that the process has used, user and system, all
// threads, those that ended included.
func (p *Process) CPU() (time.Duration, error) {
	text, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, fmt.Errorf("reading processor time: %w", errors.Join(err, p.Alive()))
	}
	return parseStat(string(text))
}

// parseStat takes utime and stime, fields 14 and 15 of proc_pid_stat(5). The
// second field is the program's name in parentheses and may hold anything,
// parentheses and spaces included, so counting starts behind the last one.
func parseStat(text string) (time.Duration, error) {
	i := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[i+1:])
	const utime, stime = 14 - 3, 15 - 3 // fields[0] is the third field
	if i < 0 || len(fields) <= stime {
		return 0, errors.New("reading processor time: /proc/PID/stat has too few fields")
	}
	u, errU := strconv.ParseInt(fields[utime], 10, 64)
	s, errS := strconv.ParseInt(fields[stime], 10, 64)
	if err := errors.Join(errU, errS); err != nil {
		return 0, fmt.Errorf("reading processor time: %w", err)
	}
	return time.Duration(u+s) * clockTick, nil
}

// Memory is what the process holds of the machine's, in bytes.
type Memory struct {
	RSS  int64 // now
	Peak int64 // since the start or the last ResetPeak
}

// Memory reads what the process holds.
func (p *Process) Memory() (Memory, error) {
	text, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return Memory{}, fmt.Errorf("reading memory: %w", errors.Join(err, p.Alive()))
	}
	rss, errRSS := statusBytes(text, "VmRSS:")
	peak, errPeak := statusBytes(text, "VmHWM:")
	return Memory{RSS: rss, Peak: peak}, errors.Join(errRSS, errPeak)
}

// statusBytes finds a line like "VmRSS:	  1234 kB".
func statusBytes(status []byte, name string) (int64, error) {
	for line := range bytes.Lines(status) {
		rest, ok := bytes.CutPrefix(line, []byte(name))
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading memory: %w", err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("reading memory: /proc/PID/status has no %s", name)
}

// ResetPeak makes Memory's Peak start again from what is held now
// (proc_pid_clear_refs(5), value 5).
func (p *Process) ResetPeak() error {
	if err := os.WriteFile(p.proc("clear_refs"), []byte("5"), 0); err != nil {
		return fmt.Errorf("resetting the memory peak: %w", err)
	}
	return nil
}

func (p *Process) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file)
}

// SelfCPU is the processor time of the benchmark itself.
func SelfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// MachineCPU is the processor time that the whole machine has spent on
// anything, in all its cores: what is left of it after the contender and the
// benchmark is other people's noise.
func MachineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the machine's processor time: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return parseMachineStat(line)
}

// parseMachineStat reads the line "cpu user nice system idle iowait irq softirq
// steal guest guest_nice" of proc_stat(5); the guests are in user and nice
// already, and stolen time was not spent here.
func parseMachineStat(line string) (time.Duration, error) {
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, errors.New("reading the machine's processor time: /proc/stat does not start with a cpu line")
	}
	var busy int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the machine's processor time: %w", err)
		}
		busy += n
	}
	return time.Duration(busy) * clockTick, nil
}
