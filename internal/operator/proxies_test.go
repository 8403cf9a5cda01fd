package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ckpool/ckpool/control"
	"github.com/ckpool/ckpool/event"
	"github.com/ckpool/ckpool/internal/config"
	"github.com/ckpool/ckpool/internal/upstream/status"
)

// somePools are pools as an operator may have them. Commands change them as a group of
// upstream pools does.
type somePools struct {
	mu     sync.Mutex
	pools  []status.Pool // guarded by mu
	next   int64         // id; guarded by mu
	opened []string      // guarded by mu
}

func tally(shares int64, difficulty float64) (t status.Tally) {
	for range shares {
		t.Add(difficulty)
	}
	return t
}

func newPools() *somePools {
	first := status.Connection{
		Connect: status.Success, Subscribe: status.Success, Authorize: status.Success, Works: true, Difficulty: 1024, Extranonce1: "f00dcafe",
		Extranonce2Len: 8, Pad: 2, Own: 2, VersionMask: 0x1fffe000, Sessions: 3, Space: status.Space{Size: 65536, Used: 4, Resting: 6},
		Figures: status.Figures{
			Accepted: tally(5, 1024), Refused: tally(1, 1024), Reasons: map[string]status.Tally{"Stale": tally(1, 1024)},
			LastAccepted: start, Rates: [4]float64{1.5, 2.5, 3.5, 4.5}, Latency: 20 * time.Millisecond, Slowest: 1500 * time.Microsecond,
		},
	}
	second := first
	second.ID, second.Extranonce1, second.Works, second.Sessions, second.Space = 2, "f00dcaff", false, 1, status.Space{Size: 65536, Used: 1}
	second.Figures = status.Figures{}
	all := first.Figures
	all.Accepted, all.Refused = tally(7, 1024), tally(3, 1024)
	all.Reasons = map[string]status.Tally{"Duplicate share": tally(1, 1024), "Above target": tally(1, 1024), "Stale": tally(1, 1024)}
	all.NotSent, all.Unsendable, all.Unanswered, all.RefusedHere, all.Open = tally(100, 16), tally(1, 1024), tally(2, 1024), tally(4, 16), 1
	all.Rates = [4]float64{10, 20, 30, 40}
	return &somePools{next: 8, pools: []status.Pool{
		{
			ID: 0, BaseURL: "stratum+ssl://pool-a.example:443", URL: "stratum+ssl://eu.pool-a.example:443", Account: "acct.farm", Password: "s3cret",
			Weight: 70, Wanted: 0.7, Part: 0.75, Up: true, Active: true, Connections: []status.Connection{first, second}, Figures: all,
		},
		{
			ID: 3, BaseURL: "pool-b.example:3333", URL: "pool-b.example:3333", Account: "acct", Password: "x", Weight: 30, Wanted: 0.3,
			Reason: "connection refused", Backoff: 15 * time.Second, Connections: []status.Connection{{Connect: status.Failed}},
		},
		{ID: 7, User: "alice", UserID: 1, BaseURL: "pool-a.example:3333", URL: "pool-a.example:3333", Account: "alice", Password: "hers", Disabled: true},
	}}
}

func (s *somePools) Pools() []status.Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pools)
}

func (s *somePools) Users() ([]status.User, int) {
	return []status.User{
		{Name: "alice", ID: 1, Miners: 2, State: "ok", Pools: []int64{7}, Figures: status.Figures{Refused: tally(1, 512), Reasons: map[string]status.Tally{"Stale": tally(1, 512)}}},
		{
			Name: "bob", ID: 2, Miners: 1, State: "refused", Refused: "Unknown user", Again: start.Add(time.Minute),
			Figures: status.Figures{Accepted: tally(2, 1024), LastAccepted: start, Rates: [4]float64{1, 2, 3, 4}, Open: 1},
		},
	}, 3
}

func (s *somePools) Add(u *config.Upstream, userID int64) (status.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if userID > 1 {
		return status.Pool{}, fmt.Errorf("there is no user %d", userID)
	}
	p := status.Pool{ID: s.next, UserID: userID, BaseURL: u.URL, URL: u.URL, Account: u.User, Password: u.Pass, Weight: u.Weight}
	s.next++
	s.pools = append(s.pools, p)
	return p, nil
}

func (s *somePools) at(id int64) int {
	return slices.IndexFunc(s.pools, func(p status.Pool) bool { return p.ID == id })
}

func (s *somePools) Remove(id int64) (status.Pool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.at(id)
	if i < 0 {
		return status.Pool{}, false
	}
	p := s.pools[i]
	s.pools = slices.Delete(slices.Clone(s.pools), i, i+1)
	return p, true
}

func (s *somePools) Place(id, place int64) (status.Pool, bool) {
	p, ok := s.Remove(id)
	if !ok {
		return p, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools = slices.Insert(slices.Clone(s.pools), min(int(place), len(s.pools)), p)
	return p, true
}

func (s *somePools) Enable(id int64, enabled bool) (status.Pool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.at(id)
	if i < 0 {
		return status.Pool{}, false
	}
	s.pools = slices.Clone(s.pools)
	s.pools[i].Disabled = !enabled
	return s.pools[i], true
}

func (s *somePools) Open(id, count int64) error {
	if count > 32 {
		return errors.New("at most 32 connections to a pool")
	}
	s.note("open", id, count)
	return nil
}

func (s *somePools) Close(id, connection int64) error {
	s.note("close", id, connection)
	return nil
}

func (s *somePools) note(what string, id, number int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, fmt.Sprintf("%s %d:%d", what, id, number))
}

func proxyHarness(t *testing.T) (*harness, *somePools, *[]string) {
	t.Helper()
	pools := newPools()
	var mu sync.Mutex
	log := &[]string{}
	h := newHarnessWith(t, false, func(o *Operator) {
		o.Proxies = pools
		o.Events = func(e event.Event) {
			mu.Lock()
			defer mu.Unlock()
			*log = append(*log, e.Text)
		}
	})
	return h, pools, log
}

const (
	noShares = `"accepted_count": 0, "rejected_count": 0, "rejects": {}, "unanswered_count": 0, "unanswered": 0.0, "not_sent_count": 0, "not_sent": 0.0, ` +
		`"unsendable_count": 0, "unsendable": 0.0, "refused_here_count": 0, "refused_here": 0.0, "waiting": 0, "latency_ms": 0.0, "slowest_ms": 0.0`
	poolHead  = `"id": 0, "userid": 0, "baseurl": "stratum+ssl://pool-a.example:443", "url": "stratum+ssl://eu.pool-a.example:443", "auth": "acct.farm", "pass": "s3cret", `
	firstHead = poolHead + `"enonce1": "f00dcafe", "nonce1len": 4, "nonce2len": 8, "diff": 1024.0, `
	ofAlice   = `{"errormsg": "proxy 7 is the own account of user \"alice\", which comes and goes with his miners: delproxy ends it until his next login"}`
	totals    = `"total_accepted": 7168.0, "total_rejected": 3072.0, "subproxies": 2, "tdsps1": 10.0, "tdsps5": 20.0, "tdsps60": 30.0, "tdsps1440": 40.0, `
	firstOwn  = `"dsps1": 1.5, "dsps5": 2.5, "dsps60": 3.5, "dsps1440": 4.5, "accepted": 5120.0, "rejected": 1024.0, `
	noOwn     = `"dsps1": 0.0, "dsps5": 0.0, "dsps60": 0.0, "dsps1440": 0.0, "accepted": 0.0, "rejected": 0.0, `
	connected = `"connect": "Success", "subscribe": "Success", "authorise": "Success", "backoff": 0, `
	poolTail  = connected + `"lastshare": 1795327613, "global": true, "disabled": false, "alive": true, "maxclients": 131072, "clients": 4, ` +
		`"accepted_count": 7, "rejected_count": 3, "rejects": {"Above target": 1, "Duplicate share": 1, "Stale": 1}, "unanswered_count": 2, "unanswered": 2048.0, ` +
		`"not_sent_count": 100, "not_sent": 1600.0, "unsendable_count": 1, "unsendable": 1024.0, "refused_here_count": 4, "refused_here": 64.0, "waiting": 1, "latency_ms": 20.0, "slowest_ms": 1.5`
	firstStats = `{` + firstHead + firstOwn + connected + `"lastshare": 1795327613, "global": true, "disabled": false, "alive": true, "maxclients": 65536, "subid": 0, "clients": 3, ` +
		`"accepted_count": 5, "rejected_count": 1, "rejects": {"Stale": 1}, "unanswered_count": 0, "unanswered": 0.0, "not_sent_count": 0, "not_sent": 0.0, ` +
		`"unsendable_count": 0, "unsendable": 0.0, "refused_here_count": 0, "refused_here": 0.0, "waiting": 0, "latency_ms": 20.0, "slowest_ms": 1.5}`
	secondStats = `{` + poolHead + `"enonce1": "f00dcaff", "nonce1len": 4, "nonce2len": 8, "diff": 1024.0, ` + noOwn + connected +
		`"lastshare": 0, "global": true, "disabled": false, "alive": false, "maxclients": 65536, "subid": 2, "clients": 1, ` + noShares + `}`
	failedHead  = `"id": 3, "userid": 0, "baseurl": "pool-b.example:3333", "url": "pool-b.example:3333", "auth": "acct", "pass": "x", "enonce1": "", "nonce1len": 0, "nonce2len": 0, "diff": 0.0, `
	failedTail  = `"connect": "Failed", "subscribe": "Initial", "authorise": "Initial", "backoff": 15, "lastshare": 0, "global": true, "disabled": false, "alive": false, "maxclients": 0, `
	failedStats = `{` + failedHead + `"total_accepted": 0.0, "total_rejected": 0.0, "subproxies": 1, "tdsps1": 0.0, "tdsps5": 0.0, "tdsps60": 0.0, "tdsps1440": 0.0, ` + failedTail + `"clients": 0, ` + noShares + `}`
	failedOne   = `{` + failedHead + noOwn + failedTail + `"subid": 0, "clients": 0, ` + noShares + `}`
	userStats   = `{"id": 7, "userid": 1, "baseurl": "pool-a.example:3333", "url": "pool-a.example:3333", "auth": "alice", "pass": "hers", "enonce1": "", "nonce1len": 0, "nonce2len": 0, "diff": 0.0, ` +
		`"total_accepted": 0.0, "total_rejected": 0.0, "subproxies": 0, "tdsps1": 0.0, "tdsps5": 0.0, "tdsps60": 0.0, "tdsps1440": 0.0, ` +
		`"connect": "Initial", "subscribe": "Initial", "authorise": "Initial", "backoff": 0, "lastshare": 0, "global": false, "disabled": true, "alive": false, "maxclients": 0, "clients": 0, ` + noShares + `}`

	firstInfo = `{"id": 0, "subid": 0, "priority": 0, "diff": 1024.0, "baseurl": "stratum+ssl://pool-a.example:443", "url": "stratum+ssl://eu.pool-a.example:443", "auth": "acct.farm", "pass": "s3cret", ` +
		`"enonce1": "f00dcafe", "enonce1constlen": 4, "enonce1varlen": 2, "nonce2len": 8, "enonce2varlen": 4, "subscribed": true, "notified": true, "clients": 4, "maxclients": 65536, ` +
		`"bound_clients": 3, "combined_clients": 4, "headroom": 65526, "subproxy_count": 2, "dead": false, "global": true, "userid": 0, "resting": 6, "version_mask": "1fffe000"}`
	secondInfo = `{"id": 0, "subid": 2, "priority": 0, "diff": 1024.0, "baseurl": "stratum+ssl://pool-a.example:443", "url": "stratum+ssl://eu.pool-a.example:443", "auth": "acct.farm", "pass": "s3cret", ` +
		`"enonce1": "f00dcaff", "enonce1constlen": 4, "enonce1varlen": 2, "nonce2len": 8, "enonce2varlen": 4, "subscribed": true, "notified": false, "clients": 1, "maxclients": 65536, ` +
		`"bound_clients": 1, "combined_clients": 4, "headroom": 65526, "subproxy_count": 2, "dead": true, "global": true, "userid": 0, "resting": 0, "version_mask": "1fffe000"}`
	unconnected = `"diff": 0.0, "baseurl": "B", "url": "B", "auth": "A", "pass": "P", "enonce1": "", "enonce1constlen": 0, "enonce1varlen": 0, "nonce2len": 0, "enonce2varlen": 0, ` +
		`"subscribed": false, "notified": false, "clients": 0, "maxclients": 0, "bound_clients": 0, "combined_clients": 0, "headroom": 0, `
	tail = `"resting": 0, "version_mask": "00000000"}`
)

func info(id, priority, connections, userID int64, url, auth, pass string) string {
	return fmt.Sprintf(`{"id": %d, "subid": 0, "priority": %d, `, id, priority) +
		strings.NewReplacer(`"B"`, `"`+url+`"`, `"A"`, `"`+auth+`"`, `"P"`, `"`+pass+`"`).Replace(unconnected) +
		fmt.Sprintf(`"subproxy_count": %d, "dead": true, "global": %v, "userid": %d, `, connections, userID == 0, userID) + tail
}

// Every reply about other pools has the names and texts of the protocol, to the byte.
func TestProxyReplies(t *testing.T) {
	h, _, _ := proxyHarness(t)
	failedInfo := info(3, 1, 1, 0, "pool-b.example:3333", "acct", "x")
	userInfo := info(7, 2, 0, 1, "pool-a.example:3333", "alice", "hers")
	for request, want := range map[string]string{
		"list": `{"proxies": [` +
			`{"id": 0, "global": true, "userid": 0, "auth": "acct.farm", "pass": "s3cret", "diff": 1024.0, "disabled": false, "alive": true, "subproxies": 2, ` +
			`"enonce1": "f00dcafe", "nonce1len": 4, "nonce2len": 8, "url": "stratum+ssl://eu.pool-a.example:443", "user": "", "priority": 0, "weight": 70.0, "wanted": 0.7, "part": 0.75, "active": true, "clients": 4, "reason": ""}, ` +
			`{"id": 3, "global": true, "userid": 0, "auth": "acct", "pass": "x", "diff": 0.0, "disabled": false, "alive": false, "subproxies": 1, ` +
			`"url": "pool-b.example:3333", "user": "", "priority": 1, "weight": 30.0, "wanted": 0.3, "part": 0.0, "active": false, "clients": 0, "reason": "connection refused"}, ` +
			`{"id": 7, "global": false, "userid": 1, "auth": "alice", "pass": "hers", "diff": 0.0, "disabled": true, "alive": false, "subproxies": 0, ` +
			`"url": "pool-a.example:3333", "user": "alice", "priority": 2, "weight": 0.0, "wanted": 0.0, "part": 0.0, "active": false, "clients": 0, "reason": ""}]}`,
		`sublist={"id":0}`: `{"subproxies": [` +
			`{"subid": 0, "auth": "acct.farm", "pass": "s3cret", "diff": 1024.0, "disabled": false, "alive": true, "enonce1": "f00dcafe", "nonce1len": 4, "nonce2len": 8, "clients": 3, "maxclients": 65536}, ` +
			`{"subid": 2, "auth": "acct.farm", "pass": "s3cret", "diff": 1024.0, "disabled": false, "alive": false, "enonce1": "f00dcaff", "nonce1len": 4, "nonce2len": 8, "clients": 1, "maxclients": 65536}]}`,
		`sublist={"id":3}`: `{"subproxies": [{"subid": 0, "auth": "acct", "pass": "x", "diff": 0.0, "disabled": false, "alive": false, "clients": 0, "maxclients": 0}]}`,
		`sublist={"id":7}`: `{"subproxies": []}`,

		"proxystats":                    `{"proxy": [{` + firstHead + totals + poolTail + `}, ` + failedStats + `, ` + userStats + `]}`,
		`proxystats={"id":0}`:           `{` + firstHead + totals + firstOwn + poolTail + `}`,
		`proxystats={"id":0,"subid":2}`: secondStats,
		`proxystats={"id":0,"subid":0}`: firstStats,
		"subproxystats":                 `{"proxy": [{"id": 0, "subproxy": [` + firstStats + `, ` + secondStats + `]}, {"id": 3, "subproxy": [` + failedOne + `]}, {"id": 7, "subproxy": []}]}`,
		"proxyusers": `{"users": [` +
			`{"user": "alice", "userid": 1, "state": "ok", "clients": 2, "proxies": [7], "dsps1": 0.0, "dsps5": 0.0, "dsps60": 0.0, "dsps1440": 0.0, "accepted": 0.0, "rejected": 512.0, "lastshare": 0, ` +
			strings.NewReplacer(`"rejected_count": 0, "rejects": {}`, `"rejected_count": 1, "rejects": {"Stale": 1}`).Replace(noShares) + `, "again": 0}, ` +
			`{"user": "bob", "userid": 2, "state": "refused", "clients": 1, "proxies": [], "dsps1": 1.0, "dsps5": 2.0, "dsps60": 3.0, "dsps1440": 4.0, "accepted": 2048.0, "rejected": 0.0, "lastshare": 1795327613, ` +
			strings.NewReplacer(`"accepted_count": 0`, `"accepted_count": 2`, `"waiting": 0`, `"waiting": 1`).Replace(noShares) + `, "refused": "Unknown user", "again": 1795327673}], "no_room": 3}`,

		"proxyinfo":                   `{"proxies": [` + firstInfo + `, ` + secondInfo + `, ` + failedInfo + `, ` + userInfo + `]}`,
		`proxyinfo={"userid":1}`:      `{"proxies": [` + userInfo + `]}`,
		`proxyinfo={"userid":9}`:      `{"proxies": []}`,
		`getproxy={"id":0}`:           firstInfo,
		`getproxy={"id":0,"subid":2}`: secondInfo,
		`getproxy={"id":7}`:           userInfo,
		`getproxy={"id":7,"subid":0}`: userInfo,

		`getproxy={"id":5}`:                                        `{"errormsg": "Failed to find proxy 5"}`,
		`getproxy={"id":5,"subid":1}`:                              `{"errormsg": "Failed to find proxy 5:1"}`,
		`getproxy={"id":0,"subid":1}`:                              `{"errormsg": "Failed to find proxy 0:1"}`,
		`getproxy={"subid":1}`:                                     `{"errormsg": "Failed to find id key"}`,
		`setproxy={"id":5,"priority":1}`:                           `{"errormsg": "Failed to find proxy 5"}`,
		`setproxy={"id":0}`:                                        `{"errormsg": "Failed to find priority key"}`,
		`setproxy={"id":0,"priority":-1}`:                          `{"errormsg": "want a priority of 0, the first, or more, got -1"}`,
		`sublist={"id":5}`:                                         `{"errormsg": "Proxy id 5 not found"}`,
		`sublist={"di":5}`:                                         `{"errormsg": "Failed to get ID in send_sublist JSON: {\"di\":5}"}`,
		`proxystats={"id":5}`:                                      `{"errormsg": "Proxy id 5 not found"}`,
		`proxystats={"id":0,"subid":1}`:                            `{"errormsg": "Proxy id 0:1 not found"}`,
		`proxystats={}`:                                            `{"errormsg": "Failed to find id key"}`,
		`proxyinfo={"id":1}`:                                       `{"errormsg": "Failed to find userid key"}`,
		`delproxy={"id":5}`:                                        `{"errormsg": "Proxy id 5 not found"}`,
		`enableproxy={"id":5}`:                                     `{"errormsg": "Proxy id 5 not found"}`,
		`disableproxy={"id":"x"}`:                                  `{"errormsg": "Failed to find id key"}`,
		`addproxy={"url":"h:1"}`:                                   `{"errormsg": "Failed to decode url/auth/pass in addproxy {\"url\":\"h:1\"}"}`,
		`addproxy=nonsense`:                                        `{"errormsg": "Failed to decode url/auth/pass in addproxy nonsense"}`,
		`addproxy={"url":"http://h:1","auth":"a","pass":"x"}`:      `{"errormsg": "\"proxy.url\": want host:port, or stratum+tcp://host:port, or for TLS stratum+ssl://host:port, got \"http://h:1\""}`,
		`addproxy={"url":"h:1","auth":"a","pass":"x","userid":5}`:  `{"errormsg": "there is no user 5"}`,
		`disableproxy={"id":7}`:                                    ofAlice,
		`enableproxy={"id":7}`:                                     ofAlice,
		`setproxy={"id":7,"priority":0}`:                           ofAlice,
		`addproxy={"url":"h:1","auth":"a","pass":"x","userid":-5}`: `{"errormsg": "want the id of a user, got -5"}`,
		`addproxy={"url":"h:1","auth":"a","pass":5}`:               `{"errormsg": "\"proxy.pass\": want a string, got a number"}`,
		"recruit=5:1":                                              `{"errormsg": "Proxy id 5 not found"}`,
		"recruit=0:0":                                              `{"errormsg": "want one more connection or more, got 0"}`,
		"recruit=0:33":                                             `{"errormsg": "at most 32 connections to a pool"}`,
		"recruit=0":                                                `{"errormsg": "want recruit=ID:COUNT, got \"0\""}`,
		"dropproxy=5:1":                                            `{"errormsg": "Proxy id 5 not found"}`,
		"dropproxy=0:1":                                            `{"errormsg": "Proxy id 0:1 not found"}`,
		"dropproxy=0:0":                                            `{"errormsg": "the first connection stays open: disableproxy or delproxy close it with the others"}`,
		"dropproxy=x:y":                                            `{"errormsg": "want dropproxy=ID:SUBID, got \"x:y\""}`,
	} {
		got, err := h.client(generatorSocket).Do(t.Context(), request)
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("%s is no JSON: %s", request, got)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", request, got, want)
		}
	}
	const stats = `{"proxies": {"count": 3, "memory": 0, "generated": 8}, "dead_proxies": {"count": 0, "memory": 0}, "subproxies": {"count": 3, "memory": 0, "generated": 4}, ` +
		`"notifies": {"count": 0, "memory": 0, "generated": 0}, "shares": {"count": 1, "memory": 0, "generated": 13}, "psends": {"count": 0, "memory": 0, "generated": 0}}`
	if got, err := h.client(generatorSocket).Do(t.Context(), "stats"); err != nil || got != stats {
		t.Errorf("stats of the generator:\n got %s, %v\nwant %s", got, err, stats)
	}
	if got, _ := h.client(stratifierSocket).Do(t.Context(), "stats"); !strings.HasPrefix(got, `{"workbases": `) {
		t.Errorf("stats of the stratifier: %s", got)
	}
	if got, _ := h.client(listenerSocket).Do(t.Context(), "help"); !strings.Contains(got, "\naddproxy URL USER [PASSWORD]") {
		t.Errorf("help does not list the commands:\n%s", got)
	}
}

// Pools are added, changed and removed by the client's methods, and what was asked
// for is what is there then. The log has no passwords.
func TestProxyChanges(t *testing.T) {
	h, pools, log := proxyHarness(t)
	c, ctx := h.client(listenerSocket), t.Context()
	check := func(name string, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	order := func() (ids []int64) {
		list, err := c.Proxies(ctx)
		if err != nil {
			t.Error(err)
		}
		for i, p := range list {
			if p.Priority != int64(i) {
				t.Errorf("priority %d at %d", p.Priority, i)
			}
			ids = append(ids, p.ID)
		}
		return ids
	}
	added, err := c.AddProxy(ctx, control.NewProxy{
		URL: "stratum+tls://pool-c.example:443", Auth: "acct", Pass: "h1dden", Weight: 2.5, SOCKS5: "127.0.0.1:9050", Agent: "farm",
		Pin: strings.Repeat("00", 32),
	})
	check("addproxy", control.ProxyAccount{ID: 8, URL: "stratum+tls://pool-c.example:443", Auth: "acct", Pass: "h1dden"}, added, err)
	alone, err := c.AddProxy(ctx, control.NewProxy{URL: "h:1", Auth: "alice", UserID: 1})
	check("addproxy for a user", control.ProxyAccount{ID: 9, URL: "h:1", Auth: "alice", UserID: 1}, alone, err)
	if reply, err := c.Run(ctx, "addproxy", "h:2", "bob", "h1dden"); err != nil || reply != `{"id": 10, "url": "h:2", "auth": "bob", "pass": "h1dden"}` {
		t.Errorf("addproxy: %s, %v", reply, err)
	}
	check("order", []int64{0, 3, 7, 8, 9, 10}, order(), nil)
	moved, err := c.MoveProxy(ctx, 8, 1)
	if err != nil || moved.ID != 8 || moved.Priority != 1 || !moved.Dead {
		t.Errorf("setproxy: %+v, %v", moved, err)
	}
	check("order", []int64{0, 8, 3, 7, 9, 10}, order(), nil)
	off, err := c.DisableProxy(ctx, 3)
	check("disableproxy", control.ProxyAccount{ID: 3, URL: "pool-b.example:3333", BaseURL: "pool-b.example:3333", Auth: "acct", Pass: "x"}, off, err)
	list, _ := c.Proxies(ctx)
	if !list[2].Disabled {
		t.Errorf("not disabled: %+v", list[2])
	}
	_, err = c.EnableProxy(ctx, 3)
	if list, _ := c.Proxies(ctx); err != nil || list[2].Disabled {
		t.Errorf("not enabled: %+v, %v", list[2], err)
	}
	gone, err := c.RemoveProxy(ctx, 0)
	check("delproxy", control.ProxyAccount{ID: 0, URL: "stratum+ssl://eu.pool-a.example:443", BaseURL: "stratum+ssl://pool-a.example:443", Auth: "acct.farm", Pass: "s3cret"}, gone, err)
	check("order", []int64{8, 3, 7, 9, 10}, order(), nil)
	for name, err := range map[string]error{"recruit": c.OpenProxyConnections(ctx, 3, 2), "a pool without a connection": c.OpenProxyConnections(ctx, 7, 1)} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.CloseProxyConnection(ctx, 3, 1); err == nil || !strings.HasSuffix(err.Error(), "Proxy id 3:1 not found") {
		t.Errorf("dropproxy of none: %v", err)
	}
	slices.Sort(pools.opened)
	check("opened", []string{"open 3:2", "open 7:1"}, pools.opened, nil)
	_, _ = c.Do(ctx, "addproxy")
	_, _ = c.Do(ctx, `addproxy={"auth":"acct","pass":"h1dden"}`)
	_, _ = c.Do(ctx, `addproxy={"url":"h:3","auth":"acct","pass":"h1dden"`)
	_, _ = c.Do(ctx, `addproxy={"url":"h:3","auth":"acct","pass":"h1dden","userid":5}`)
	said := strings.Join(*log, "\n")
	if strings.Contains(said, "h1dden") {
		t.Errorf("a password is in the log:\n%s", said)
	}
	for _, line := range []string{
		`Control: addproxy "stratum+tls://pool-c.example:443 acct"`, `Control: setproxy "{\"id\": 8, \"priority\": 1}"`, `Control: disableproxy "{\"id\": 3}"`,
		`Control: enableproxy "{\"id\": 3}"`, `Control: delproxy "{\"id\": 0}"`, `Control: recruit "3:2"`, `Control: dropproxy "3:1" failed: Proxy id 3:1 not found`,
		"Control: addproxy failed: Failed to decode url/auth/pass in addproxy ",
		`Control: addproxy "…" failed: Failed to decode url/auth/pass in addproxy …`, `Control: addproxy "h:3 acct" failed: there is no user 5`,
	} {
		if !slices.Contains(*log, line) {
			t.Errorf("not in the log: %s\n%s", line, said)
		}
	}
}

// The connection with an id that is not the first is closed.
func TestDropProxyConnection(t *testing.T) {
	h, pools, _ := proxyHarness(t)
	if err := h.client(generatorSocket).CloseProxyConnection(t.Context(), 0, 2); err != nil || !slices.Equal(pools.opened, []string{"close 0:2"}) {
		t.Errorf("%v, %v", pools.opened, err)
	}
}

// What has a method in the client is decoded by it, without loss: encoded again it is
// the reply.
func TestClientReadsProxies(t *testing.T) {
	h, _, _ := proxyHarness(t)
	c, ctx := h.client(stratifierSocket), t.Context()
	for request, read := range map[string]func() (any, error){
		"list": func() (any, error) { l, err := c.Proxies(ctx); return control.ProxyList{Proxies: l}, err },
		`sublist={"id":0}`: func() (any, error) {
			l, err := c.SubProxies(ctx, 0)
			return control.SubProxyList{SubProxies: l}, err
		},
		"proxystats": func() (any, error) {
			l, err := c.ProxyStats(ctx)
			return control.ProxyStatsList{Proxies: l}, err
		},
		`proxystats={"id":0}`:           func() (any, error) { return c.OneProxyStats(ctx, 0) },
		`proxystats={"id":0,"subid":0}`: func() (any, error) { return c.OneSubProxyStats(ctx, 0, 0) },
		"subproxystats": func() (any, error) {
			l, err := c.SubProxyStats(ctx)
			return control.SubProxyStatsList{Proxies: l}, err
		},
		"proxyusers": func() (any, error) { return c.ProxyUsers(ctx) },
		"proxyinfo": func() (any, error) {
			l, err := c.ProxyConnections(ctx)
			return control.ProxyConnectionList{Proxies: l}, err
		},
		`getproxy={"id":0,"subid":2}`: func() (any, error) { return c.ProxyConnection(ctx, 0, 2) },
	} {
		v, err := read()
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		reply, err := c.Do(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(reply, control.Encode(v)); diff != "" {
			t.Errorf("%s: -reply +read and encoded again\n%s", request, diff)
		}
	}
	// An instance that mines from nodes has none of this, and says so.
	node := newHarness(t, false).client(listenerSocket)
	var refused *control.RefusedError
	if _, err := node.Proxies(ctx); !errors.As(err, &refused) || refused.Text != "list: this instance mines from nodes, it has no upstream pools" {
		t.Errorf("list without pools: %v", err)
	}
	if l, err := node.ProxyConnections(ctx); err != nil || len(l) != 0 {
		t.Errorf("proxyinfo without pools: %v, %v", l, err)
	}
}

// All commands are answered, and none is taken for another.
func TestProxyCommandsAreKnown(t *testing.T) {
	h, _, _ := proxyHarness(t)
	for _, k := range control.ProxyCommands() {
		for _, socket := range Sockets {
			got, err := h.client(socket).Do(t.Context(), k.Name)
			if err != nil || got == "unknown" || strings.Contains(got, "mines from nodes") {
				t.Errorf("%s on %s: %q, %v", k.Name, socket, got, err)
			}
		}
	}
}

// without is a source that no work can be had of.
type without struct{ idle }

func (without) Usable() bool { return false }

// What is about nodes is answered in words by one that has none, and its texts about
// missing work name what it comes from.
func TestProxyHasNoNodes(t *testing.T) {
	h, _, _ := proxyHarness(t)
	for _, request := range []string{"nodes", "getbase", "submitblock:" + strings.Repeat("0", 64) + ",00"} {
		command, _, _ := strings.Cut(request, ":")
		want := command + ": this instance mines for other pools, which list shows, and has no nodes"
		if reply, err := h.client(generatorSocket).Do(t.Context(), request); err != nil || !strings.Contains(reply, want) {
			t.Errorf("%s: %q, %v", request, reply, err)
		}
	}
	h.Source = without{}
	if line := h.Summary(start); !strings.HasPrefix(line, "No usable upstream: ") {
		t.Error(line)
	}
	if line := h.StatusLine(start, 0, 80); !strings.Contains(line, "no usable upstream") {
		t.Error(line)
	}
}
