// Command etcdguard is etcd with a guard inside it, and its tools.
package main

import (
	"os"

	"github.com/etcdguard/etcdguard/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdout, os.Stderr))
}
