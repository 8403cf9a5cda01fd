package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/miner"
	"github.com/ckpool/ckpool/internal/testkit/otherpool"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/stratum/client"
)

// rigs are miners of users, one each, that mine until stop and count.
type rigs struct {
	stop func()

	mu      sync.Mutex
	good    int // shares with a difficulty that counts above, accepted
	refused map[string]int
	closed  []error
}

func startRigs(t *testing.T, address string, passwords map[string]string, counts float64) *rigs {
	ctx, cancel := context.WithCancel(t.Context())
	r := &rigs{refused: map[string]int{}}
	var running sync.WaitGroup
	for user, password := range passwords {
		c := miner.Config{
			Endpoint: client.Endpoint{URL: address, User: user + ".rig", Password: password}, HashRate: 200, Drain: patience,
			OnShare: func(s miner.Share) {
				r.mu.Lock()
				defer r.mu.Unlock()
				switch {
				case s.Err != nil:
					r.refused[s.Err.Error()]++
				case s.Reject != nil:
					r.refused[s.Reject.Text]++
				case s.Difficulty >= counts:
					r.good++
				}
			},
			OnEvent: func(e client.Event) {
				if e, ok := e.(client.Closed); ok && ctx.Err() == nil {
					r.mu.Lock()
					r.closed = append(r.closed, e.Err)
					r.mu.Unlock()
				}
			},
		}
		running.Go(func() { _ = miner.Run(ctx, c) }) // it ends with the context
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// slowConn is a connection of a pool that takes its time until the first answer: who is not
// ahead is without work for as long.
type slowConn struct {
	net.Conn
	once sync.Once
}

func (c *slowConn) Read(b []byte) (int, error) {
	c.once.Do(func() { <-time.After(500 * time.Millisecond) })
	return c.Conn.Read(b)
}

// A user proxy and its upgrades, as processes: users have their own accounts above after
// each, their miners stay connected, and every share has one verdict, which the pool above
// has in its book. It sees one login of each user, or over TLS, where a connection cannot
// move, one for each process; the account of all is credited nothing in between.
func TestUserProxyProcess(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", secure), func(t *testing.T) {
			t.Parallel()
			testUserProxyProcess(t, secure)
		})
	}
}

func testUserProxyProcess(t *testing.T, secure bool) {
	const ofPool, ofProxy = 1.0 / (1 << 30), 1.0 / (1 << 31)
	passwords := map[string]string{"farm": "x", "alice": "hers", "bob": "his"}
	set := otherpool.Config{Difficulty: ofPool, Delay: 100 * time.Millisecond, AuthorizeOne: true, Knows: func(user, password string) bool {
		user, _, _ = strings.Cut(user, ".")
		return password != "" && passwords[user] == password
	}}
	pair := certificate.New(t, "localhost", 1).TLS(t)
	if secure {
		set.Wrap = func(c net.Conn) net.Conn {
			return &slowConn{Conn: tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})}
		}
	}
	above := otherpool.Start(t, set)
	entry := map[string]any{"url": above.Addr, "auth": "farm", "pass": "x"}
	if secure {
		key := sha256.Sum256(pair.Leaf.RawSubjectPublicKeyInfo)
		entry["url"], entry["pin"] = "stratum+ssl://"+above.Addr, fmt.Sprintf("%x", key)
	}
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
		"proxy": []any{entry}, "mindiff": ofProxy, "startdiff": ofProxy, "maxdiff": ofProxy,
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
	f.await("the port", func() bool {
		c, err := net.Dial("tcp", f.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	r := startRigs(t, f.addr, map[string]string{"alice": "hers", "bob": "his"}, ofPool)
	credited := func() (all int, of map[string]int) {
		of = map[string]int{}
		for name, account := range above.Book() {
			user, _, _ := strings.Cut(name, ".")
			of[user] += account.Shares
			all += account.Shares
		}
		return all, of
	}
	home := func() {
		t.Helper()
		f.await("accounts of their own", func() bool {
			reply, err := wait.Reply(t.Context(), control.Dial(f.sockets(), "", "stratifier"), "list")
			var list control.ProxyList
			if err != nil || json.Unmarshal([]byte(reply), &list) != nil || len(list.Proxies) != 3 {
				return false
			}
			return !slices.ContainsFunc(list.Proxies[1:], func(p control.Proxy) bool { return !p.Alive || p.Clients != 1 || p.Global })
		})
		_, before := credited()
		f.await("shares of both", func() bool {
			_, now := credited()
			return now["alice"] > before["alice"]+20 && now["bob"] > before["bob"]+20
		})
	}
	home()
	_, before := credited()
	for upgrade := range 3 {
		f.upgraded()
		home()
		for _, user := range []string{"alice", "bob"} {
			logins := strings.Count(strings.Join(above.Lines(), "\n"), fmt.Sprintf(`"params":[%q,%q]`, user, passwords[user]))
			if want := 1 + upgrade + 1; !secure && logins != 1 || secure && logins != want {
				t.Errorf("%d logins of %s after %d upgrades", logins, user, upgrade+1)
			}
		}
	}
	r.stop()
	all, now := credited()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.closed) > 0 {
		t.Errorf("miners were closed: %v", r.closed)
	}
	if r.good != all || above.Invalid.Load() != 0 || len(above.RefusedFor()) > 0 {
		t.Errorf("miners have %d accepted shares, the book has %d; refused %v, %q", r.good, all, above.RefusedFor(), above.Faults())
	}
	if now["farm"] != before["farm"] {
		t.Errorf("the account of all is credited %d shares of users with accounts of their own", now["farm"]-before["farm"])
	}
	if secure { // of jobs of the connection before
		delete(r.refused, "Stale")
	}
	if len(r.refused) > 0 {
		t.Errorf("refused: %v", r.refused)
	}
}
