// Command ckbench brings what a pool needs to be tried and measured: a fake
// bitcoin node.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "fakenode" {
		os.Exit(runFakeNode(os.Args[2:]))
	}
	fmt.Fprintln(os.Stderr, "usage: ckbench fakenode [options]")
	os.Exit(1)
}
