package pool

import (
	"fmt"
	"strings"
	"testing"

	"ckpool/event"
	"ckpool/internal/config"
	"ckpool/internal/handover"
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
