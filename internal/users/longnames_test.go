package users

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Names that C cuts at 127 bytes count whole here, and over a restart; one that
// no file can have is refused.
func TestLongNames(t *testing.T) {
	h := newHarness(t, nil)
	cut := strings.Repeat("m", 127)
	// What C has saved of users that begin with these 127 bytes.
	h.write(t, `{"hashrate1m": "1.02T", "shares": 500, "bestshare": 3.5, "worker": [{"workername": "`+cut+`more.rig", "shares": 500}]}`, "users", cut)
	h.Users = h.open(t, start, nil)
	names := []string{cut, cut + "a", cut + "b", strings.Repeat("n", 255)}
	for i, name := range names {
		g := grant(t, h.Users, name)
		if g.User.Name != name {
			t.Errorf("name of %d bytes is user %q", len(name), g.User.Name)
		}
		h.Share(accepted(g.Worker, start, float64(i+1), 1))
	}
	if _, r := h.Authorize(login(strings.Repeat("n", 256))); r == nil || r.Text != "Username too long" {
		t.Errorf("256 bytes: %v", r)
	}
	if _, r := h.Authorize(login("bob." + strings.Repeat("n", 252))); r == nil || r.Text != "Username too long" {
		t.Errorf("worker of 256 bytes: %v", r)
	}
	if err := h.Save(start.Add(time.Second), Sessions{}); err != nil {
		t.Fatal(err)
	}
	files := h.userFiles(t)
	for _, name := range names {
		if !slices.Contains(files, name) {
			t.Errorf("no file of %q", name)
		}
	}
	again := h.open(t, start.Add(2*time.Minute), nil)
	for i, want := range []float64{501, 2, 3, 4} {
		if u := again.directory.user(names[i]); u == nil || u.shares != want {
			t.Errorf("after a restart %q is %+v, want %v shares", names[i], u, want)
		}
	}
}
