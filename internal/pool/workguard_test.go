package pool

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"ckpool/event"
	"ckpool/internal/config"
	"ckpool/internal/testkit/fakenode"
)

// Miners are closed when no node has been usable for the whole time at a
// stretch, and not when it was away several times for a part of it.
func TestGuardWork(t *testing.T) {
	node, err := fakenode.Start(fakenode.Config{Chain: "regtest", User: "user", Password: "pass"})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	text, err := json.Marshal(map[string]any{
		"btcd": []any{map[string]any{"url": node.Addr(), "auth": "user", "pass": "pass"}}, "drop_without_work": 300,
		"btcaddress": "bcrt1q7v96qwscwmmy7q5sjvw8rawgvxl0gamx6xlltt", "logdir": t.TempDir(), "serverurl": []string{"127.0.0.1:3333"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Parse("ckpool.conf", text, config.Pool)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(c, Options{Wants: func(event.Level) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- p.nodes.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	usable := func(want bool) {
		t.Helper()
		if want {
			node.ClearFault()
		} else {
			node.SetFault(fakenode.Fault{Kind: fakenode.Cut})
		}
		for deadline := time.Now().Add(20 * time.Second); (p.nodes.Current() != nil) != want; {
			if time.Now().After(deadline) {
				t.Fatalf("the node is usable: %v, after 20 s: %+v", !want, p.nodes.Status())
			}
			<-time.After(5 * time.Millisecond)
		}
	}

	ended, cancelled := context.WithCancel(t.Context())
	cancelled() // there are no miners to wait for
	g := workGuard{pool: p}
	at := func(second int, dropped bool) {
		t.Helper()
		g.look(ended, start.Add(time.Duration(second)*time.Second))
		if g.dropped != dropped {
			t.Errorf("second %d: miners are refused: %v", second, g.dropped)
		}
	}
	usable(true)
	at(0, false)
	usable(false)
	at(1, false)
	at(300, false)
	usable(true)
	at(301, false)
	usable(false)
	at(302, false)
	at(601, false)
	at(602, true)
	at(900, true)
	usable(true)
	at(901, false)
	usable(false)
	at(902, false)
	at(1201, false)
	at(1202, true)
}
