package pool

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/handover"
	"github.com/ckpool/ckpool/internal/session"
	"github.com/ckpool/ckpool/work"
)

// Accounts of users have descriptors that miners leave to them; with max_user_proxies of 0
// there are none, and the pool is a proxy.
func TestUserProxy(t *testing.T) {
	for _, most := range []int{700, 0} {
		text := fmt.Appendf(nil, `{"proxy": [{"url": "127.0.0.1:1", "auth": "farm"}], "max_user_proxies": %d, "logdir": %q, "serverurl": ["127.0.0.1:3333"]}`, most, t.TempDir())
		c, _, err := config.Parse("ckproxy.conf", text, config.UserProxy)
		if err != nil {
			t.Fatal(err)
		}
		p, err := New(c, Options{UserProxy: true, Wants: func(event.Level) bool { return false }, Events: func(event.Event) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if reserve := p.limits(&c).Reserve; reserve != limits(&c).Reserve+most || (p.logins != nil) != (most > 0) || p.settings.Load().UserAccounts != (most > 0) {
			t.Errorf("at most %d: %d descriptors are kept, accounts %v", most, reserve, p.logins != nil)
		}
		i := instanceOf(p)
		if err := i.agrees(i); err != nil {
			t.Error(err)
		}
		other := i
		other.UserProxy = false
		if err := i.agrees(other); err == nil || !strings.HasPrefix(err.Error(), "this is a user proxy, the running instance a proxy: ") {
			t.Error(err)
		}
		// Where there are no accounts their record is of no use.
		in := &Incoming{pool: p, have: map[handover.Kind]bool{}}
		for _, kind := range []handover.Kind{sectionLogins, sectionLoginsAhead} {
			if err := in.Section(kind, []byte{1}, nil); (err == nil) != (most == 0) {
				t.Errorf("a damaged record: %v", err)
			}
		}
	}
	if sectionLogins != 96 || sectionLoginLine != 98 || sectionLoginsAhead != 99 { // part of the format
		t.Error("the sections have other numbers")
	}
}

// A stranger who comes as another user each time, with a share as each, makes 10,000 users an
// hour from an address and 100 names on a connection, addresses among them, and no more; each
// costs little memory, for the share is owed. Others are not held up by him.
func TestUserProxyNames(t *testing.T) {
	text := fmt.Appendf(nil, `{"proxy": [{"url": "127.0.0.1:1", "auth": "farm"}], "limit_exempt": [], "logdir": %q, "serverurl": ["127.0.0.1:3333"]}`, t.TempDir())
	c, _, err := config.Parse("ckproxy.conf", text, config.UserProxy)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(c, Options{UserProxy: true, Wants: func(event.Level) bool { return false }, Events: func(event.Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	job := &work.Job{ID: 1, Template: &work.Template{}}
	now := time.Now()
	login := func(name, from string, made int) string {
		g, r := p.users.Authorize(&session.Login{Time: now, Worker: name, Remote: netip.MustParseAddrPort(from), NewNames: made, Further: made > 0})
		if r != nil {
			return r.Text
		}
		p.users.Attach(g.Worker, 1, "x", now)
		p.users.Share(&session.Share{Time: now, Worker: g.Worker, Job: job, Current: job, Hashed: true, Computed: work.Share{Difficulty: 2}, Difficulty: 1, Credit: 1, Remote: netip.MustParseAddrPort(from)})
		p.users.Detach(g.Worker, 1, "x")
		return ""
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const most, hours = 10_000, 3
	before := heap()
	for hour := range hours {
		for i := range most {
			if text := login(fmt.Sprintf("user%d-%d.rig", hour, i), "198.51.100.7:1", 0); text != "" {
				t.Fatalf("hour %d, user %d: %s", hour, i, text)
			}
		}
		for i, name := range []string{"another.rig", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"} {
			if text := login(name, "198.51.100.7:1", 0); !strings.HasPrefix(text, "Too many new names from your address, retry in ") {
				t.Errorf("hour %d, %d beyond: %q", hour, i, text)
			}
		}
		if text := login("user0-0.rig", "198.51.100.7:1", 0); text != "" {
			t.Errorf("hour %d, a user who is known: %q", hour, text)
		}
		if text := login(fmt.Sprint("neighbour", hour), "198.51.100.8:1", 0); text != "" {
			t.Errorf("hour %d, another address: %q", hour, text)
		}
		now = now.Add(time.Hour)
	}
	if text := login("one-more.rig", "198.51.100.7:1", 100); text != "Too many new names on this connection" {
		t.Errorf("name 101 of a connection: %q", text)
	}
	n, _ := p.users.Known()
	each := (heap() - before) / uint64(n)
	t.Logf("%d users, %d bytes each", n, each)
	if n != hours*(most+1) || each > 2048 {
		t.Errorf("%d users, %d bytes each", n, each)
	}
}
