package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ckpool/control"
	"ckpool/internal/testkit/otherpool"
	"ckpool/internal/testkit/port"
	"ckpool/stratum/client"
)

// A user proxy and its upgrades, as processes: users have their own accounts above after
// each, by the passwords that the first process was given, and their miners stay connected.
func TestUserProxyProcess(t *testing.T) {
	t.Parallel()
	passwords := map[string]string{"farm": "x", "alice": "hers", "bob": "his"}
	above := otherpool.Start(t, otherpool.Config{Difficulty: 1, Knows: func(user, password string) bool {
		user, _, _ = strings.Cut(user, ".")
		return password != "" && passwords[user] == password
	}})
	own, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ck") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{t: t, dir: dir, addr: "127.0.0.1:" + own, ended: make(chan struct{})}
	config, _ := json.Marshal(map[string]any{
		"proxy":     []any{map[string]any{"url": above.Addr, "auth": "farm", "pass": "x"}},
		"serverurl": []string{f.addr}, "logdir": filepath.Join(dir, "logs"), "max_user_proxies": 10,
	})
	path := filepath.Join(dir, "ckproxy.conf")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	f.first = exec.Command("ckpool", "-u", "-c", path, "-s", f.sockets(), "-n", "ckpool", "-q")
	if err := f.first.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.end)
	go func() {
		_ = f.first.Wait()
		close(f.ended)
	}()
	var miners []*client.Client
	for _, user := range []string{"alice", "bob"} {
		f.await("work", func() bool {
			c, err := client.Dial(t.Context(), client.Endpoint{URL: f.addr, User: user + ".rig", Password: passwords[user]}, client.Options{})
			if err == nil {
				miners = append(miners, c)
			}
			return err == nil
		})
	}
	var watching sync.WaitGroup
	closed := make(chan error, len(miners))
	for _, c := range miners {
		watching.Go(func() {
			for e := range c.Events() {
				if e, ok := e.(client.Closed); ok {
					closed <- e.Err
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, c := range miners {
			c.Close()
		}
		watching.Wait()
	})
	home := func() {
		t.Helper()
		f.await("accounts of their own", func() bool {
			reply, err := control.Dial(f.sockets(), "", "stratifier").Do(t.Context(), "list")
			var list control.ProxyList
			if err != nil || json.Unmarshal([]byte(reply), &list) != nil || len(list.Proxies) != 3 {
				return false
			}
			return !slices.ContainsFunc(list.Proxies[1:], func(p control.Proxy) bool { return !p.Alive || p.Clients != 1 || p.Global })
		})
	}
	home()
	for upgrade := range 3 {
		f.upgraded()
		home()
		for _, user := range []string{"alice", "bob"} {
			want := fmt.Sprintf(`"params":[%q,%q]`, user, passwords[user])
			f.await(user+"'s own account", func() bool {
				return strings.Count(strings.Join(above.Lines(), "\n"), want) == upgrade+2
			})
		}
	}
	select {
	case err := <-closed:
		t.Errorf("a miner was closed: %v", err)
	default:
	}
}
