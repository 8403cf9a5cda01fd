package demo

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/testkit/firmware"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// What the screen shows is so: miners at two passthroughs and a node are the pool's, who
// find its blocks, and so is one that is pointed at the address it shows.
func TestLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listen := freeAddr(t)
	r := start(t, Config{Dir: dir, Listen: listen, Links: true})
	r.wait("stratum+tcp://" + listen)
	pool := r.commands("ask the pool")
	far := r.commands("what one end of a link says")
	r.wait("mining began")
	r.wait("block 3 accepted: 50 BTC, by ")

	ask := func(command, want string) {
		t.Helper()
		var out []byte
		defer func() {
			if t.Failed() {
				t.Logf("%s", out)
			}
		}()
		wait.Until(t, time.Minute, command+" says "+want, func() bool {
			out, _ = exec.Command("sh", "-c", command).CombinedOutput()
			return regexp.MustCompile(want).Match(out)
		})
	}
	// In the order in which they were linked.
	ask(pool[0], `(?s)passthrough .* 2\n.*node .* 1\n|node .* 1\n.*passthrough .* 2\n`)
	ask(pool[1], `(?s)rig1.*rig2.*rig3`)
	ask(far[0], `true +true .* short lines +2\n`)
	ask(far[1], `(?s)rig1.*rig3|rig3.*rig1`)

	family, _ := firmware.Find("Bitaxe")
	guest, err := family.Dial(t.Context(), listen, "guest.bitaxe", firmware.Options{Suggest: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	r.wait(" at 127.0.0.1, as guest.bitaxe\n")
	ask(pool[0], `(?s)passthrough .* [12]\n.*passthrough .* [12]\n`)
	// Whoever upgrades the pool and a passthrough sees the demonstration go on, and end.
	for _, at := range []string{pool[0], far[0]} {
		upgrade := regexp.MustCompile(` (links|list)$`).ReplaceAllString(strings.TrimSpace(at), " upgrade")
		out, err := exec.Command("sh", "-c", upgrade).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "upgraded to process") {
			t.Fatalf("%s: %v\n%s", upgrade, err, out)
		}
	}
	r.wait("ckpool goes on as process ")
	r.wait("west goes on as process ")
	blocks := func() int { return strings.Count(r.screen.String(), " accepted: 50 BTC, by ") }
	before := blocks()
	wait.Until(t, time.Minute, "another block", func() bool { return blocks() > before })
	ask(pool[0], `(?s)passthrough .*passthrough `)
	ask(pool[0], `node `)
	if text := r.screen.String(); strings.Contains(text, "simulated miner ") {
		t.Errorf("a miner was closed:\n%s", text)
	}
	r.stop()
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}
