package operation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/bench"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/certificate"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
	"github.com/ckpool/ckpool/journal"
	"github.com/ckpool/ckpool/sharelog"
)

// farApart are a main pool and a trusted remote of it, with every hash a share and none a
// block.
func farApart(t *testing.T) (main, remote *killed) {
	t.Helper()
	make := func(more string, ports ...any) *killed {
		node, err := fakenode.Start(fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(node.Close)
		free, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		k := &killed{t: t, dir: t.TempDir(), addr: "127.0.0.1:" + free, shares: map[string]float64{}}
		config := fmt.Appendf(nil, `{"btcd": [{"url": %q, "auth": "user", "pass": "pass"}], "serverurl": %q,
			"btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "link_secret": "far",
			"mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10, %s}`, node.Addr(), k.addr, fmt.Sprintf(more, ports...))
		if err := os.WriteFile(filepath.Join(k.dir, "ckpool.conf"), config, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(k.dir, "s"), 0o750); err != nil {
			t.Fatal(err)
		}
		return k
	}
	free, err := port.Free()
	if err != nil {
		t.Fatal(err)
	}
	main = make(`"trusted": "127.0.0.1:%s"`, free)
	main.args = []string{"-A"}
	remote = make(`"upstream": "127.0.0.1:%s"`, free)
	remote.args = []string{"-t"}
	return main, remote
}

// Main pool and trusted remote are killed and upgraded at any moment under load: every
// share that a miner of the remote was told is accepted is at the main pool, once, in the
// copy of the journal and in the statistics of its user.
func TestKilledRemotes(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	main, remote := farApart(t)
	told := newVerdicts()
	m, r := main.start(), remote.start()
	pause := func() { <-time.After(time.Duration(random.Int64N(int64(2 * time.Second)))) }
	for round := range 8 {
		if r == nil {
			r = remote.start()
		}
		_, err := bench.Shares(t.Context(), bench.SharesConfig{Options: remote.load(30), Rate: 600, Answered: told.add,
			During: func(context.Context, func() time.Duration) error {
				pause()
				switch round % 4 {
				case 0, 2:
					if err := m.Process.Signal(syscall.SIGKILL); err != nil {
						return err
					}
					_ = m.Wait()
					pause()
					m = main.start()
				case 1:
					next := main.upgrade()
					_ = m.Wait()
					m = next
				case 3:
					next := remote.upgrade()
					_ = r.Wait()
					r = next
				}
				pause()
				if round%2 == 0 {
					return nil
				}
				err := r.Process.Signal(syscall.SIGKILL)
				_ = r.Wait()
				r = nil
				return err
			}})
		if err != nil {
			t.Fatal(err)
		}
	}
	r = remote.start()
	want := len(told.accepted)
	if err := await(func() error {
		dirs, _ := filepath.Glob(filepath.Join(main.dir, "logs", "remotes", "*"))
		if len(dirs) != 1 {
			return fmt.Errorf("copies: %q", dirs)
		}
		if n := countAccepted(t, dirs[0]); n < want {
			return fmt.Errorf("%d shares are at the main pool, want %d", n, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := await(func() error { // the last are counted as well
		reply, err := wait.Reply(t.Context(), control.Dial(filepath.Join(main.dir, "s"), "ckpool", "stratifier"), "poolstats")
		var stats struct {
			Accepted int `json:"accepted_count"`
		}
		if err == nil {
			err = json.Unmarshal([]byte(reply), &stats)
		}
		if err == nil && stats.Accepted < want {
			err = fmt.Errorf("the main pool counts %d shares, want %d", stats.Accepted, want)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface {
		Signal(os.Signal) error
	}{r.Process, m.Process} {
		if err := c.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Wait(); err != nil {
		t.Error(err)
	}
	if err := m.Wait(); err != nil {
		t.Error(err)
	}
	dirs, _ := filepath.Glob(filepath.Join(main.dir, "logs", "remotes", "*"))
	users := told.compare(t, dirs[0])
	if n, kept := storedFrom(t, main), countAccepted(t, dirs[0]); n != kept {
		t.Errorf("ckdb has stored %d shares, want %d", n, kept)
	}
	all := 0.0
	for user, sum := range users {
		u, err := sharelog.ReadUser(filepath.Join(main.dir, "logs", "users", user))
		if err != nil || !near(u.Shares, sum) {
			t.Errorf("user %s has %v, want %v, %v", user, u.Shares, sum, err)
		}
		all += sum
	}
	if p, err := sharelog.ReadPoolStatus(filepath.Join(main.dir, "logs", "pool", "pool.status")); err != nil || !near(p.Accepted, all) || p.AcceptedCount < int64(want) {
		t.Errorf("the pool has %v of %d shares, want %v, %v", p.Accepted, p.AcceptedCount, all, err)
	}
}

// storedFrom runs ckdb beside a pool until it has stored all that remotes have reported, and
// returns how many shares those are.
func storedFrom(t *testing.T, k *killed) (shares int) {
	t.Helper()
	return startDatabase(t, k)()
}

// startDatabase runs ckdb beside a pool. stored waits until it has stored all that remotes have
// reported, returns how many shares those are, and ends it.
func startDatabase(t *testing.T, k *killed) (stored func() (shares int)) {
	t.Helper()
	c := exec.Command(filepath.Join(programs, "ckdb"), "-s", "s/ckdb", "--keep", "0")
	c.Dir = k.dir
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
	t.Cleanup(end)
	return func() (shares int) {
		t.Helper()
		defer end()
		if err := await(func() error {
			st, text, err := askStatus(k.dir, "s/ckdb")
			for _, j := range st.Journals {
				if j.Stored != "" && j.Behind == 0 && j.Trouble == "" {
					shares = j.Shares
					return nil
				}
			}
			return fmt.Errorf("%s, %v", text, err)
		}); err != nil {
			t.Errorf("%v\n%s", err, &out)
		}
		return shares
	}
}

// A remote that reports for the first time while ckdb runs is stored too.
func TestNewRemoteIsStored(t *testing.T) {
	t.Parallel()
	main, remote := farApart(t)
	main.start()
	stored := startDatabase(t, main)
	if err := await(func() error {
		_, _, err := askStatus(main.dir, "s/ckdb")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	remote.start()
	told := newVerdicts()
	if _, err := bench.Shares(t.Context(), bench.SharesConfig{Options: remote.load(5), Rate: 50, Duration: 2 * time.Second, Answered: told.add}); err != nil {
		t.Fatal(err)
	}
	if err := await(func() error {
		dirs, _ := filepath.Glob(filepath.Join(main.dir, "logs", "remotes", "*"))
		if len(dirs) != 1 || countAccepted(t, dirs[0]) < len(told.accepted) {
			return fmt.Errorf("copies: %q", dirs)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := stored(); n < len(told.accepted) || n == 0 {
		t.Errorf("ckdb has stored %d shares, want %d", n, len(told.accepted))
	}
}

// countAccepted counts the accepted shares of a journal.
func countAccepted(t *testing.T, dir string) (n int) {
	t.Helper()
	r, err := journal.Open(dir, journal.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		k, err := r.Read()
		if err == io.EOF {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if k.Kind == journal.KindShare && k.Reason == "accepted" {
			n++
		}
	}
}

// near allows for sums that were added in another order.
func near(a, b float64) bool { return a > b*(1-1e-12) && a < b*(1+1e-12) }

// The configurations of docs/remotes.md work together: a main pool, and whole pools on two
// other continents whose users are those of the main pool.
func TestRemotesPage(t *testing.T) {
	t.Parallel()
	page := configurations(t, "../../docs/remotes.md")
	pair := certificate.New(t, "main.pool.example", 1)
	cert, err := x509.ParseCertificate(pair.TLS(t).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	free := func() string {
		p, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		return "127.0.0.1:" + p
	}
	links := free()
	for _, name := range []string{"ckpool", "eu", "asia"} {
		n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
		k := &killed{t: t, dir: t.TempDir(), addr: free(), shares: map[string]float64{}, args: []string{"-n", name, "-c", name + ".conf"}}
		text := page[name+".conf"]
		for was, is := range map[string]string{
			`{"url": "127.0.0.1:8332", "cookie": "~/.bitcoin/.cookie"}`: fmt.Sprintf(`{"url": %q, "auth": "user", "pass": "pass"}`, n.Addr()),
			"bc1q…":                      "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
			"[::]:3444":                  links,
			"main.pool.example:3444":     links,
			`"serverurl": ["[::]:3333"]`: fmt.Sprintf(`"serverurl": [%q]`, k.addr),
			"2f0c5d1e3b4a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0": fmt.Sprintf("%x", sha256.Sum256(cert.RawSubjectPublicKeyInfo)),
		} {
			text = strings.ReplaceAll(text, was, is)
		}
		if text == "" {
			t.Fatalf("no %s.conf on the page", name)
		}
		text = `{"mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10, ` + text[1:]
		if name == "ckpool" {
			text = fmt.Sprintf(`{"serverurl": %q, %s`, k.addr, text[1:])
			pair.Write(t, k.dir)
		} else {
			k.args = append(k.args, "-t")
		}
		if err := os.WriteFile(filepath.Join(k.dir, name+".conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(k.dir, "s"), 0o750); err != nil {
			t.Fatal(err)
		}
		if name != "ckpool" {
			c := exec.CommandContext(t.Context(), filepath.Join(programs, "ckpool"), "--check", "-t", "-c", name+".conf")
			c.Dir = k.dir
			if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "it takes trusted remotes") {
				t.Errorf("--check: %v\n%s", err, out)
			}
		}
		c := k.start()
		t.Cleanup(func() {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		})
		var m *scriptMiner
		if err := await(func() (err error) { // before a remote's link is there, its accounts are not
			m, err = dial(k.addr, "alice."+name, "")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.close)
		if reject, err := m.submit(""); reject != "" || err != nil {
			t.Fatalf("%s: %q, %v", name, reject, err)
		}
		if name == "ckpool" {
			mainDir := k.dir
			defer func() {
				if err := await(func() error {
					workers, err := wait.Reply(t.Context(), control.Dial(filepath.Join(mainDir, "s"), "ckpool", "listener"), "workers")
					for _, name := range []string{"ckpool", "eu", "asia"} {
						if err == nil && !strings.Contains(workers, `"alice.`+name+`"`) {
							err = fmt.Errorf("no alice.%s: %s", name, workers)
						}
					}
					return err
				}); err != nil {
					t.Error(err)
				}
			}()
		}
	}
}
