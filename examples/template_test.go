package examples_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The inspector shows the node's template, and a coinbase that pays the address all of it.
func TestTemplate(t *testing.T) {
	node, url := theNode(t)
	txids, err := node.SendSegwit(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.MineEmpty(t.Context(), 1); err != nil { // or the transactions are not in it yet
		t.Fatal(err)
	}
	want, err := node.Template(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(built, "template"), url, minerAddress).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, part := range append(txids,
		fmt.Sprintf("height:       %d\n", want.Height),
		"on block:     "+want.PreviousHash+"\n",
		fmt.Sprintf("reward:       %d satoshis\n", want.Value),
		"transactions: 2\n",
		fmt.Sprintf("  %d to %s\n", want.Value, minerAddress),
		"  0 to 6a24aa21a9ed"+strings.TrimPrefix(want.Commitment, "6a24aa21a9ed")+"\n", // btcd gives the hash alone
	) {
		if !strings.Contains(string(out), part) {
			t.Errorf("it does not show %q:\n%s", part, out)
		}
	}
}
