package atrest_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/etcdguard/etcdguard/atrest"
)

var (
	benchMiB  = flag.Int("atrest.mib", 256, "size of the benchmark's database file, in MiB")
	benchDir  = flag.String("atrest.dir", "", "where to keep the benchmark's database files (default: a temporary directory)")
	command   = flag.String("atrest.command", "", "the etcdguard that the benchmark runs (default: the test itself)")
	scanAlone = flag.String("atrest.scan", "", "scan this file and exit: what the benchmark runs in a process of its own")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *scanAlone != "" {
		r, err := atrest.Scan(context.Background(), []string{*scanAlone}, atrest.Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(r.Verdict)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// BenchmarkCat compares reading a warm file with cat and looking at it, each in a
// process of its own, in turns. Its figures are medians.
func BenchmarkCat(b *testing.B) {
	for _, c := range []struct {
		name string
		form func(string, []byte) []byte
	}{{"sealed", sealed}, {"plaintext", plain}} {
		b.Run(c.name, func(b *testing.B) {
			file := database(b, c.name, *benchMiB, c.form)
			words := []string{os.Args[0], "-atrest.scan", file}
			if *command != "" {
				words = []string{*command, "atrest", file}
			}
			var cats, scans, ratios []float64
			var peak int64
			timed(b, "cat", file)
			for b.Loop() {
				cat, _ := timed(b, "cat", file)
				look, rss := timed(b, words[0], words[1:]...)
				cats, scans = append(cats, cat.Seconds()), append(scans, look.Seconds())
				ratios = append(ratios, cat.Seconds()/look.Seconds())
				peak = max(peak, rss)
			}
			info, err := os.Stat(file)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(info.Size())/(1<<20), "file-MiB")
			b.ReportMetric(float64(info.Size())/1e6/median(cats), "cat-MB/s")
			b.ReportMetric(float64(info.Size())/1e6/median(scans), "atrest-MB/s")
			b.ReportMetric(median(ratios), "of-cat")
			b.ReportMetric(slices.Min(ratios), "of-cat-min")
			b.ReportMetric(slices.Max(ratios), "of-cat-max")
			b.ReportMetric(float64(peak)/1024, "peak-MiB")
		})
	}
}

func median(all []float64) float64 {
	sorted := slices.SortedFunc(slices.Values(all), cmp.Compare[float64])
	return sorted[len(sorted)/2]
}

// timed runs a program; rss is its peak memory in KiB.
func timed(b *testing.B, name string, args ...string) (wall time.Duration, rss int64) {
	b.Helper()
	cmd := exec.Command(name, args...)
	var errors bytes.Buffer
	cmd.Stderr = &errors // stdout is the null device
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v: %s", name, err, errors.Bytes())
	}
	return time.Since(begin), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
}

// database makes a database file as etcd does, of values of 1 KiB: every second
// revision is of a key that has later ones.
func database(b *testing.B, name string, mib int, form func(string, []byte) []byte) string {
	b.Helper()
	dir := *benchDir
	if dir == "" {
		dir = b.TempDir()
	}
	file := filepath.Join(dir, fmt.Sprintf("%s-%d.db", name, mib))
	if _, err := os.Stat(file); err == nil {
		return file
	}
	db, err := bolt.Open(file, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for n := 0; ; {
		err := db.Update(func(tx *bolt.Tx) error {
			keys, err := tx.CreateBucketIfNotExists([]byte("key"))
			if err != nil {
				return err
			}
			keys.FillPercent = 0.9 // as etcd's
			for range 10_000 {
				n++
				if err := keys.Put(record(n, form)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			b.Fatal(err)
		}
		if info.Size() < int64(mib)<<20 {
			continue
		}
		if err := db.Sync(); err != nil { // or the kernel would write it while it is read
			b.Fatal(err)
		}
		return file
	}
}

func record(n int, form func(string, []byte) []byte) (rev, value []byte) {
	rev = binary.BigEndian.AppendUint64(nil, uint64(n))
	rev = append(rev, '_')
	rev = binary.BigEndian.AppendUint64(rev, 0)
	key := fmt.Sprintf("/registry/secrets/namespace-%d/name-%d", n/2%100, n/2)
	body := make([]byte, 1024)
	rand.Read(body[512:])
	copy(body, object(1))
	value, err := proto.Marshal(&mvccpb.KeyValue{Key: []byte(key), CreateRevision: int64(n), ModRevision: int64(n), Version: 1, Value: form(key, body)})
	if err != nil {
		panic(err) // it is a constant shape
	}
	return rev, value
}
