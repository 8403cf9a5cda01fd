package examples_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/stratum/client"
)

// A block that a miner of the embedded pool finds is posted when it is found, and when the
// node has it. An interrupt ends the program in order.
func TestEmbedded(t *testing.T) {
	n, url := theNode(t)
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
	embedded := start(t, "embedded", "-node", url, "-pay", poolAddress, "-post", server.URL, "-listen", addr, "-difficulty", "1e-9")
	embedded.until("it listens", func(line string) bool { return strings.Contains(line, "Listening on "+addr) })

	ctx, stop := context.WithCancel(t.Context())
	mined := make(chan struct{})
	go func() {
		defer close(mined)
		_ = miner.Run(ctx, miner.Config{Endpoint: client.Endpoint{URL: addr, User: "alice.rig1"}, HashRate: 50}) // ends with the context
	}()
	defer func() { <-mined }()
	defer stop()
	embedded.until("a share is logged", func(line string) bool { return strings.Contains(line, "share of alice.rig1: difficulty ") })
	late := time.After(patience)
	pending, confirmed := map[string]bool{}, block{}
	for confirmed.State == "" {
		select {
		case b := <-posted:
			if pending[b.Hash] = pending[b.Hash] || b.State == "pending"; b.State == "confirmed" {
				confirmed = b
			}
		case _, ok := <-embedded.lines: // else it would wait with the next
			if !ok {
				t.Fatal("it has ended before a block is posted as confirmed")
			}
		case <-late:
			t.Fatal("no block is posted as confirmed")
		}
	}
	hash, err := n.BlockHash(t.Context(), confirmed.Height)
	if err != nil {
		t.Fatal(err)
	}
	if !pending[confirmed.Hash] || hash != confirmed.Hash || confirmed.Worker != "alice.rig1" || confirmed.Reward < 1e8 || confirmed.Confirmations < 1 {
		t.Errorf("posted is %+v, pending before %v; the node has %s", confirmed, pending[confirmed.Hash], hash)
	}

	stop()
	if err := embedded.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for range embedded.lines { // until its end
	}
	if err := embedded.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
