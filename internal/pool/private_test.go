package pool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ckpool/ckpool/event"
)

// Who is private stays so over restarts, however an address is written, until ckdb says
// otherwise. A file that is damaged is put aside.
func TestPrivateUsers(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pool"), 0o750); err != nil {
		t.Fatal(err)
	}
	var said []string
	begin := func() *privateUsers {
		return newPrivateUsers(dir, func(e event.Event) { said = append(said, e.Text) })
	}
	const address = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"
	p := begin()
	if p.has("alice") {
		t.Error("somebody is private whom nobody said to be")
	}
	p.set("alice", true)
	p.set(strings.ToUpper(address), true)
	p.set("bob", true)
	p.set("bob", false)
	for name, p := range map[string]*privateUsers{"now": p, "after a restart": begin()} {
		if !p.has("alice") || !p.has(address) || !p.has(strings.ToUpper(address)) || p.has("bob") || p.has("ALICE") {
			t.Errorf("%s: alice %v, the address %v, bob %v", name, p.has("alice"), p.has(address), p.has("bob"))
		}
	}
	if len(said) > 0 {
		t.Errorf("%q", said)
	}
	if err := os.WriteFile(filepath.Join(dir, "pool", "private.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	p = begin()
	if p.set("carol", true); !p.has("carol") || p.has("alice") || len(said) != 1 || !strings.Contains(said[0], "private.json") {
		t.Errorf("a damaged file: %q", said)
	}
	if p := begin(); !p.has("carol") {
		t.Error("nothing is written after a damaged file")
	}
}
