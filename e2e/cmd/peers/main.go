// Command peers builds, ahead of the tests, the programs they need: every one, or
// those named as arguments. It ends with a line per program and its path.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/etcdguard/etcdguard/e2e/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	names := os.Args[1:]
	if len(names) == 0 {
		names = peers.Names()
	}
	for _, name := range names {
		path, err := peers.Build(ctx, name, os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, "peers: error:", err)
			os.Exit(1)
		}
		fmt.Printf("%-16s %s\n", name, path)
	}
}
