package pool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/session"
)

func TestSessionsFile(t *testing.T) {
	now := time.Unix(1795327613, 0)
	c := &config.Config{LogDir: t.TempDir(), Nonce1Length: 4}
	path := sessionsPath(c.LogDir)
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	saved := []session.Saved{
		{ID: 0x7e86026b00000001, Extranonce1: 0x0d0c0b0a, Worker: 5, Until: now.Unix() + 100},
		{ID: 2, Extranonce1: 0xff000000, Worker: 0xffffffffffffffff, Until: now.Unix() + 200},
	}
	first := session.NewRegistry(4, 1)
	first.Restore(saved, now)
	if err := saveSessions(first, c, now); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"id": "7e86026b00000001", "enonce1": "0a0b0c0d", "worker": "0000000000000005", "until": 1795327713}`; !strings.Contains(string(text), want) {
		t.Errorf("the file has no %s:\n%s", want, text)
	}
	second := session.NewRegistry(4, 1)
	if n, err := loadSessions(second, path, 4, now); n != 2 || err != nil {
		t.Errorf("%d sessions, %v", n, err)
	}
	var again []session.Saved
	second.Save(now, func(s session.Saved) { again = append(again, s) })
	for _, s := range saved {
		if len(again) != 2 || again[0] != s && again[1] != s {
			t.Errorf("%+v came back as %+v", s, again)
		}
	}
	if n, err := loadSessions(session.NewRegistry(3, 1), path, 3, now); n != 0 || err != nil {
		t.Errorf("with another nonce1length: %d sessions, %v", n, err)
	}
	if n, err := loadSessions(session.NewRegistry(4, 1), path+".none", 4, now); n != 0 || err != nil {
		t.Errorf("without a file: %d sessions, %v", n, err)
	}
	if err := saveSessions(session.NewRegistry(4, 1), c, now); err != nil {
		t.Fatal(err)
	}
	if n, err := loadSessions(second, path, 4, now); n != 0 || err != nil {
		t.Errorf("an empty file: %d sessions, %v", n, err)
	}
}

func FuzzSessionsFile(f *testing.F) {
	f.Add(`{"saved": 1, "nonce1length": 4, "sessions": [{"id": "7e86026b00000001", "enonce1": "0a0b0c0d", "worker": "05", "until": 1795327713}]}`)
	f.Add(`{"nonce1length": 4, "sessions": [{"id": "x"}]}`)
	f.Add(`{"nonce1length": 4, "sessions": [{"id": "1", "enonce1": "0a0b0c0d0e"}]}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "sessions.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1795327613, 0)
		r := session.NewRegistry(4, 1)
		n, err := loadSessions(r, path, 4, now)
		if err != nil && n != 0 {
			t.Errorf("%d sessions and %v", n, err)
		}
		got := 0
		r.Save(now, func(session.Saved) { got++ })
		if got != n {
			t.Errorf("%d sessions restored, %d there", n, got)
		}
	})
}
