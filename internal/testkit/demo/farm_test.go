package demo

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/testkit/firmware"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// What the screen shows is so on both sides: three miners at the proxy are one account of
// the pool, whose blocks they find. Connections that end are back, and after Ctrl-C
// nothing runs any more; a second start goes on at the same addresses.
func TestProxy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listen := freeAddr(t)
	r := start(t, Config{Dir: dir, Listen: listen, Farm: true})
	r.wait("stratum+tcp://" + listen)
	place := filepath.Join(dir, farmPlace)
	proxy := r.commands("ask the proxy")
	above := r.commands("ask the pool")
	end := r.commands("end the pool's connections")
	r.wait("mining began")
	r.wait("block 2 accepted: 50 BTC, by ")

	ask := func(command, want string) {
		t.Helper()
		var out []byte
		defer func() {
			if t.Failed() {
				t.Logf("%s\n%s", command, out)
			}
		}()
		wait.Until(t, time.Minute, command+" says "+want, func() bool {
			out, _ = exec.Command("sh", "-c", command).CombinedOutput()
			return regexp.MustCompile(want).Match(out)
		})
	}
	ask(proxy[0], `(?s)miners +3 miners of 3 users\n.*\nupstream +127\.0\.0\.1:\d+ as bcrt1\w+\.farm, in use, 3 miners; [1-9][\d,]* accepted, `)
	ask(proxy[1], `(?s)rig1.*rig2.*rig3`)
	ask(above[0], `miners +1 miner of 1 user\n`)
	ask(above[1], `bcrt1\w+\.farm`)
	for _, command := range append(proxy, above...) {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}

	// A miner of the user's own, and what happens when the pool is away for a moment.
	family, _ := firmware.Find("Bitaxe")
	guest, err := family.Dial(t.Context(), listen, "guest.bitaxe", firmware.Options{Suggest: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	r.wait(" at 127.0.0.1, as guest.bitaxe\n")
	if out, err := exec.Command("sh", "-c", end[0]).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	ask(proxy[0], `in use, 4 miners; `)
	if text := r.screen.String(); strings.Contains(text, "a miner left") || strings.Contains(text, "simulated miner ") {
		t.Errorf("a miner was closed:\n%s", text)
	}
	r.stop()
	for line := range strings.Lines(r.screen.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 && !strings.Contains(line, dir) && !strings.Contains(line, "bcrt1") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if left := leftovers(t, dir); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}

	c, _, err := config.Load(filepath.Join(place, proxyConfig), config.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	r = start(t, Config{Dir: dir, Listen: listen, Farm: true})
	r.wait("ckpool: a pool on " + c.Proxies[0].URL + ", ")
	r.wait("mining began")
	r.wait(" accepted: ")
	r.stop()
}
