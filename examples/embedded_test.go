package examples_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/btcd"
	"github.com/ckpool/ckpool/internal/testkit/gobuild"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/stratum/client"
)

// The programs in docs/library.md can be built as they stand there.
func TestDocumentedPrograms(t *testing.T) {
	page, err := os.ReadFile("../docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// They are built as if they stood beside the examples.
	dir, packages, overlay := t.TempDir(), []string{}, map[string]map[string]string{"Replace": {}}
	for i, part := range strings.Split(string(page), "```go\n")[1:] {
		code, _, _ := strings.Cut(part, "```")
		if !strings.HasPrefix(code, "package main\n") {
			continue
		}
		name := "documented" + strconv.Itoa(i)
		file := filepath.Join(dir, name+".go")
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][filepath.Join(here, name, "main.go")] = file
		packages = append(packages, "./"+name)
	}
	if len(packages) == 0 {
		t.Fatal("there is none")
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := gobuild.Programs(dir, append([]string{"-overlay", filepath.Join(dir, "overlay.json")}, packages...)...); err != nil {
		t.Error(err)
	}
}

// A block that a miner of the embedded pool finds is posted when it is found, and when the
// node has it. An interrupt ends the program in order.
func TestEmbedded(t *testing.T) {
	const within = 2 * time.Minute
	dir := t.TempDir()
	if err := gobuild.Programs(dir, "./embedded"); err != nil {
		t.Fatal(err)
	}
	n := testkit.StartBtcd(t, btcd.Options{})
	n.Generate(1)

	type block struct {
		Height        int64
		Hash, Worker  string
		Reward        int64
		State         string
		Confirmations int64
	}
	posted := make(chan block, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b block
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			t.Errorf("posted is what is no block: %v", err)
		}
		posted <- b
	}))
	defer server.Close()

	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + free
	c := exec.Command(filepath.Join(dir, "embedded"), "-node", "http://"+n.User+":"+n.Pass+"@"+n.RPC, "-pay", "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
		"-post", server.URL, "-dir", filepath.Join(dir, "files"), "-listen", addr, "-difficulty", "1e-9")
	out, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(within, func() { _ = c.Process.Kill() })
	defer late.Stop()
	listening := make(chan bool)
	share := make(chan bool, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(share)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch line := lines.Text(); {
			case strings.Contains(line, "Listening on"):
				close(listening)
			case strings.Contains(line, "share of alice.rig1: difficulty"):
				select {
				case share <- true:
				default:
				}
			}
		}
	}()
	select {
	case <-listening:
	case <-read:
		t.Fatal("it has ended before it listened")
	}

	ctx, stop := context.WithCancel(t.Context())
	mined := make(chan struct{})
	go func() {
		defer close(mined)
		_ = miner.Run(ctx, miner.Config{Endpoint: client.Endpoint{URL: addr, User: "alice.rig1"}, HashRate: 50})
	}()
	pending, confirmed := map[string]bool{}, block{}
	for confirmed.State == "" {
		select {
		case b := <-posted:
			if pending[b.Hash] = pending[b.Hash] || b.State == "pending"; b.State == "confirmed" {
				confirmed = b
			}
		case <-read:
			t.Fatal("it has ended before a block")
		}
	}
	stop()
	<-mined
	if hash := n.BlockHash(confirmed.Height); !pending[confirmed.Hash] || hash != confirmed.Hash || confirmed.Worker != "alice.rig1" || confirmed.Reward < 1e8 || confirmed.Confirmations < 1 {
		t.Errorf("posted is %+v, pending before %v; the node has %s", confirmed, pending[confirmed.Hash], hash)
	}
	if !<-share {
		t.Error("no share is logged")
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-read
	if err := c.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
