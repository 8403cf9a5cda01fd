package bitcoind

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writeCookie(t *testing.T, path, content string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

func TestCookie(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ".cookie")
	start := time.Unix(1.7e9, 0)
	for _, name := range []string{path, dir} {
		os.Remove(path)
		c := credentials{cookie: name}
		want := func(user, pass string) {
			t.Helper()
			if u, p, err := c.get(false); err != nil || u != user || p != pass {
				t.Errorf("got %q, %q, %v; want %q, %q", u, p, err, user, pass)
			}
		}
		fails := func(text string) {
			t.Helper()
			if _, _, err := c.get(false); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %s", err, text)
			}
		}
		if name == path {
			fails("no such file or directory")
		}
		writeCookie(t, path, "", start)
		fails("not a cookie")
		// The node writes it now: an empty one was not kept.
		writeCookie(t, path, "__cookie__:aa\n", start)
		want("__cookie__", "aa")
		// It is read again when it changes, even to one of the same length.
		writeCookie(t, path, "__cookie__:bb\r\n", start.Add(time.Nanosecond))
		want("__cookie__", "bb")
		// The same time and length is not noticed, but 401 asks for a fresh one.
		writeCookie(t, path, "__cookie__:cc\r\n", start.Add(time.Nanosecond))
		want("__cookie__", "bb")
		if u, p, err := c.get(true); err != nil || u != "__cookie__" || p != "cc" {
			t.Errorf("fresh: %q, %q, %v", u, p, err)
		}
		want("__cookie__", "cc")
		writeCookie(t, path, "junk", start.Add(time.Second))
		fails("not a cookie")
	}
}

// With a user in the configuration, an unreadable cookie leaves that.
func TestCookieFallsBack(t *testing.T) {
	c := credentials{user: "u", pass: "p", cookie: filepath.Join(t.TempDir(), "none")}
	if u, p, err := c.get(false); err != nil || u != "u" || p != "p" {
		t.Errorf("%q, %q, %v", u, p, err)
	}
}
