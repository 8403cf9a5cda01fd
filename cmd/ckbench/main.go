// Command ckbench brings what a pool needs to be tried and measured: a
// whole pool on a private chain, and a fake bitcoin node.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "run":
			os.Exit(runDemo(os.Args[2:]))
		case "fakenode":
			os.Exit(runFakeNode(os.Args[2:]))
		}
	}
	fmt.Fprintln(os.Stderr, "usage: ckbench run | fakenode [options]")
	os.Exit(1)
}
