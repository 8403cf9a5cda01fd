package pool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
)

// Blocks that an instance has saved as a pool wait where it runs as a proxy, and the start
// says so; without any it says nothing.
func TestProxyTellsOfSavedBlocks(t *testing.T) {
	for _, saved := range []string{"", "1000-ab.block"} {
		c := config.Default(config.Proxy)
		c.LogDir = t.TempDir()
		c.Proxies = []config.Upstream{{URL: "127.0.0.1:1", User: "farm", Pass: "x"}}
		dir := filepath.Join(c.LogDir, "pool", "blocks")
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{saved, "999-cd.rejected"} {
			if name == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte("00\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var said []string
		p, err := New(c, Options{Proxy: true, Name: "ckproxy", SockDir: t.TempDir(), Events: func(e event.Event) { said = append(said, e.Text) }, Wants: func(event.Level) bool { return true }})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		told := strings.Contains(strings.Join(said, "\n"), "Blocks of a run as a pool that wait in "+dir+": 1. ")
		if told != (saved != "") {
			t.Errorf("%q is saved, said: %q", saved, said)
		}
	}
}
