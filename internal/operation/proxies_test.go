package operation

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/internal/testkit"
	"github.com/ckpool/ckpool/internal/testkit/fakenode"
	"github.com/ckpool/ckpool/internal/testkit/port"
	"github.com/ckpool/ckpool/internal/testkit/wait"
)

// The configurations of docs/proxy.md work: a farm is one account at a pool, or at two by their
// weights, and users may have accounts of their own.
func TestProxyPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	weighted := regexp.MustCompile(`(?s)\n +(\{ "proxy": [^}]*"weight".*?\] \})\n`).FindStringSubmatch(string(page))
	farm := configurations(t, "../../docs/proxy.md")["ckproxy.conf"]
	if farm == "" || weighted == nil {
		t.Fatal("a configuration is missing on the page")
	}
	make := func(name, text string, args ...string) *killed {
		p, err := port.Free()
		if err != nil {
			t.Fatal(err)
		}
		k := &killed{t: t, dir: t.TempDir(), addr: "127.0.0.1:" + p, shares: map[string]float64{}, args: append(args, "-n", name, "-c", name+".conf")}
		text = fmt.Sprintf(`{"serverurl": %q, "mindiff": 1e-10, "startdiff": 1e-10, "maxdiff": 1e-10, %s`, k.addr, strings.TrimSpace(text)[1:])
		if err := os.WriteFile(filepath.Join(k.dir, name+".conf"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(k.dir, "s"), 0o750); err != nil {
			t.Fatal(err)
		}
		c := k.start()
		t.Cleanup(func() {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		})
		return k
	}
	pool := func() *killed {
		n := testkit.StartFakeNode(t, fakenode.Config{Chain: "main", Bits: 0x1d00ffff, User: "user", Password: "pass"})
		return make("ckpool", fmt.Sprintf(`{"btcd": [{"url": %q, "auth": "user", "pass": "pass"}], "btcaddress": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"}`, n.Addr()))
	}
	a, b := pool(), pool()
	for _, tt := range []struct{ what, text, option, user, account string }{
		{"a farm", farm, "-p", "rig7", "account.farm"},
		{"by weight", weighted[1], "-p", "rig7", "account.farm"},
		{"accounts of their own", farm, "-u", "alice.rig7", "alice"},
	} {
		text := strings.NewReplacer("pool-a.example:3333", a.addr, "stratum+ssl://pool-b.example:443", b.addr, "pool-b.example:3333", b.addr).Replace(tt.text)
		k := make("ckproxy", text, tt.option)
		m, err := dial(k.addr, tt.user, "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.close)
		if reject, err := m.submit(""); reject != "" || err != nil {
			t.Fatalf("%s: %q, %v", tt.what, reject, err)
		}
		if err := await(func() error {
			var names []string
			for _, p := range []*killed{a, b} {
				reply, err := wait.Reply(t.Context(), control.Dial(filepath.Join(p.dir, "s"), "ckpool", "listener"), "workers")
				var list struct{ Workers []control.Worker }
				if err == nil {
					err = json.Unmarshal([]byte(reply), &list)
				}
				if err != nil {
					return err
				}
				for i := range list.Workers {
					if names = append(names, list.Workers[i].Worker); strings.HasPrefix(list.Workers[i].Worker, tt.account) {
						return nil
					}
				}
			}
			return fmt.Errorf("%s: no account %s at either pool, but %q", tt.what, tt.account, names)
		}); err != nil {
			t.Error(err)
		}
	}
}
